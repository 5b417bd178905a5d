"""Which parameters train: full, LoRA or frozen, per module group (vision, projector, language)."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import nn

from mllmu_med.errors import UsageError
from mllmu_med.models.network import AnswerNetwork, unwrap
from mllmu_med.models.quantised import quantised_weights
from mllmu_med.models.quiet import no_renamed_attributes
from mllmu_med.models.vlm import VisionLanguageModel
from mllmu_med.seeding import derive

log = logging.getLogger("mllmu_med")

GROUPS = ("vision", "projector", "language")

# Anchored at the whole parameter name: PEFT suffixes such as ``q_proj`` would also match the vision tower. The first
# pattern that matches decides. Qwen-VL keeps its projector inside the tower as ``visual.merger``.
_PATTERNS: tuple[tuple[str, re.Pattern[str]], ...] = (
    (
        "projector",
        re.compile(r"^model\.(multi_modal_projector|connector|visual\.(merger|deepstack_merger_list)|aligner)\."),
    ),
    ("vision", re.compile(r"^model\.(vision_tower|vision_model|visual|vision_encoder|image_newline)(\.|$)")),
    ("language", re.compile(r"^(model\.(language_model|text_model)|lm_head)\.")),
)


def group_of(name: str) -> str:
    """The group of a parameter or module name of the unwrapped model; UsageError for a name no pattern knows."""
    for group, pattern in _PATTERNS:
        if pattern.match(name + "."):
            return group
    raise UsageError(f"parameter '{name}' belongs to no known module group; this architecture is not supported yet")


@dataclass(frozen=True)
class Lora:
    """LoRA settings (Hu et al. 2021, arXiv 2106.09685)."""

    rank: int = 16
    alpha: int = 32
    dropout: float = 0.0


@dataclass(frozen=True)
class GroupCount:
    """Parameters of one group: all, and those that train."""

    group: str
    mode: str
    parameters: int
    trainable: int


def set_trainable(
    vlm: VisionLanguageModel, modes: Mapping[str, str], lora: Lora | None = None, *, seed: int = 0
) -> list[GroupCount]:
    """Freeze and adapt the model in place.

    Args:
        vlm: a model without adapters.
        modes: group → ``full``, ``lora`` or ``frozen``; a group that is not named is frozen.
        lora: needed where a mode is ``lora``.
        seed: of the adapters' initial weights.

    Returns:
        what trains, per group, for the table that every training stage prints.

    Raises:
        UsageError: an unknown group or mode, quantised weights without adapters, or nothing would train.
    """
    for group, mode in modes.items():
        if group not in GROUPS or mode not in ("full", "lora", "frozen"):
            raise UsageError(f"trainable.{group}: {mode} is not one of full, lora, frozen for {', '.join(GROUPS)}")
    if vlm.quantised and modes.get("language", "frozen") != "lora":
        raise UsageError(
            f"the language model is held in {vlm.quantised}, so only adapters train: language must be lora"
        )
    if "lora" in modes.values():
        _add_lora(vlm, {g for g, m in modes.items() if m == "lora"}, lora or Lora(), seed)
    wrapped = hasattr(vlm.model, "get_base_model")
    for name, parameter in vlm.model.named_parameters():
        adapter = ".lora_" in name
        group = group_of(plain_name(name) if wrapped else name)
        trains = adapter or modes.get(group, "frozen") == "full"
        if trains:  # small steps on large numbers would be rounded away in half precision
            parameter.data = parameter.data.float()
        parameter.requires_grad_(trains)
    counts = count_groups(vlm, modes)
    if not any(count.trainable for count in counts):
        raise UsageError("nothing trains: set one of trainable.vision, .projector, .language to full or lora")
    if modes.get("vision", "frozen") == "frozen" and modes.get("projector", "frozen") == "frozen":
        vlm.cache_features(True)
    else:
        vlm.cache_features(False)
    return counts


def plain_name(name: str) -> str:
    """A parameter's name without what PEFT adds to it."""
    name = name.removeprefix("base_model.model.")
    return re.sub(r"\.(base_layer|lora_[AB]\.default|lora_embedding_[AB])(?=\.|$)", "", name)


def _add_lora(vlm: VisionLanguageModel, groups: set[str], lora: Lora, seed: int) -> None:
    import torch
    from peft import LoraConfig, get_peft_model

    model = unwrap(vlm.model)
    head = model.get_output_embeddings()
    targets = [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and module is not head and group_of(name) in groups
    ]
    config = LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules="^(" + "|".join(re.escape(t) for t in targets) + ")$",
        bias="none",
    )
    with torch.random.fork_rng(devices=[]), no_renamed_attributes():
        torch.manual_seed(derive(seed, "lora"))
        vlm.model = get_peft_model(model, config)
    vlm.network = AnswerNetwork(vlm.model)


def has_adapter(vlm: VisionLanguageModel) -> bool:
    """Whether the model carries LoRA adapters."""
    return hasattr(vlm.model, "get_base_model")


@contextmanager
def adapters_off(vlm: VisionLanguageModel) -> Iterator[None]:
    """Within the block the model answers without its adapters, if it has any.

    What trains stays what trains: PEFT by itself would let every adapter train again behind the block.
    """
    if not has_adapter(vlm):
        yield
        return
    trains = [(parameter, parameter.requires_grad) for parameter in vlm.model.parameters()]
    try:
        with vlm.model.disable_adapter():
            yield
    finally:
        for parameter, whether in trains:
            parameter.requires_grad_(whether)


def merge_adapter(vlm: VisionLanguageModel) -> None:
    """Fold the adapters into the weights, so that the model saves as a plain folder.

    Raises:
        UsageError: the weights are quantised; PEFT would add to a copy of them and lose the adapters.
    """
    if has_adapter(vlm):
        if vlm.quantised:
            raise UsageError(f"adapters cannot be merged into {vlm.quantised} weights; load the model unquantised")
        vlm.model = vlm.model.merge_and_unload()
        vlm.network = AnswerNetwork(vlm.model)


def count_groups(vlm: VisionLanguageModel, modes: Mapping[str, str]) -> list[GroupCount]:
    """Parameters per group, counted once where they are tied; a quantised weight is a parameter like any other."""
    totals = dict.fromkeys(GROUPS, 0)
    training = dict.fromkeys(GROUPS, 0)
    for name, count in quantised_weights(vlm.model).items():
        totals[group_of(plain_name(name))] += count
    for name, parameter in vlm.model.named_parameters():
        group = group_of(plain_name(name))
        totals[group] += parameter.numel()
        training[group] += parameter.numel() if parameter.requires_grad else 0
    return [GroupCount(g, modes.get(g, "frozen"), totals[g], training[g]) for g in GROUPS]


def group_table(counts: list[GroupCount]) -> Any:
    """A rich table of what trains."""
    from rich.table import Table

    table = Table(title="What trains", title_justify="left")
    for column in ("group", "mode", "parameters", "trainable"):
        table.add_column(column, justify="left" if column in ("group", "mode") else "right")
    for count in counts:
        table.add_row(count.group, count.mode, f"{count.parameters:,}", f"{count.trainable:,}")
    return table


def log_groups(counts: list[GroupCount]) -> None:
    """Log what trains, one line a group."""
    for count in counts:
        log.info("%-9s %-6s %12s parameters, %12s trainable", count.group, count.mode, f"{count.parameters:,}",
                 f"{count.trainable:,}")  # fmt: skip


def trainable_share(counts: list[GroupCount]) -> float:
    """Share of the parameters that train, 0…1."""
    return sum(c.trainable for c in counts) / max(1, sum(c.parameters for c in counts))
