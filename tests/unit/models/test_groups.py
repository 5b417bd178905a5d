"""Which parameters train, in three families."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from mllmu_med.errors import UsageError
from mllmu_med.models.groups import (
    Lora,
    count_groups,
    group_of,
    group_table,
    has_adapter,
    merge_adapter,
    plain_name,
    set_trainable,
    trainable_share,
)
from mllmu_med.models.vlm import VisionLanguageModel
from mllmu_med.training.learn import answer_loss
from tests.invariant.cases import mixed

NAMES = {
    "model.vision_tower.vision_model.encoder.layers.0.self_attn.q_proj.weight": "vision",
    "model.vision_model.embeddings.patch_embedding.weight": "vision",
    "model.visual.blocks.0.attn.qkv.weight": "vision",
    "model.image_newline": "vision",
    "model.multi_modal_projector.linear_1.weight": "projector",
    "model.connector.modality_projection.proj.weight": "projector",
    "model.visual.merger.mlp.0.weight": "projector",
    "model.visual.deepstack_merger_list.0.norm.weight": "projector",
    "model.language_model.layers.0.self_attn.q_proj.weight": "language",
    "model.text_model.embed_tokens.weight": "language",
    "lm_head.weight": "language",
    "lm_head": "language",
}


@pytest.mark.parametrize(("name", "group"), NAMES.items())
def test_group_of_a_name(name: str, group: str) -> None:
    assert group_of(name) == group


@pytest.mark.parametrize(
    "name", ["model.audio_tower.layers.0.weight", "vision_tower.x", "x.model.language_model.y", ""]
)
def test_a_name_that_no_pattern_knows_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="belongs to no known module group"):
        group_of(name)


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("base_model.model.model.language_model.layers.0.self_attn.q_proj.base_layer.weight",
         "model.language_model.layers.0.self_attn.q_proj.weight"),
        ("base_model.model.model.language_model.layers.0.mlp.up_proj.lora_A.default.weight",
         "model.language_model.layers.0.mlp.up_proj.weight"),
        ("lm_head.weight", "lm_head.weight"),
    ],
)  # fmt: skip
def test_plain_name_takes_off_what_peft_adds(name: str, plain: str) -> None:
    assert plain_name(name) == plain


@pytest.mark.parametrize(
    "modes", [{"language": "half"}, {"tower": "full"}, {"language": "frozen"}, {}, {"vision": "frozen"}]
)
def test_modes_that_make_no_sense_are_refused(modes: dict[str, str], llava: VisionLanguageModel) -> None:
    with pytest.raises(UsageError):
        set_trainable(llava, modes)


@pytest.mark.parametrize(
    "modes", [{"language": "full"}, {"projector": "full", "vision": "full"}, {"projector": "full"}]
)
def test_full_training_is_of_exactly_the_groups_named(modes: dict[str, str], vlm: VisionLanguageModel) -> None:
    counts = set_trainable(vlm, modes)
    training = {group_of(name) for name, p in vlm.model.named_parameters() if p.requires_grad}
    frozen = {group_of(name) for name, p in vlm.model.named_parameters() if not p.requires_grad}
    assert training == set(modes)
    assert frozen.isdisjoint(modes)
    for count in counts:
        assert count.mode == modes.get(count.group, "frozen")
        assert count.trainable == (count.parameters if count.group in modes else 0)


def test_counts_add_up_and_tied_weights_count_once(vlm: VisionLanguageModel) -> None:
    distinct = {p.data_ptr(): p.numel() for p in vlm.model.state_dict().values() if p.is_floating_point()}
    buffers = sum(
        b.numel() for n, b in vlm.model.named_buffers() if n in vlm.model.state_dict() and b.is_floating_point()
    )
    counts = count_groups(vlm, {})
    assert all(count.parameters > 0 for count in counts)
    assert sum(count.parameters for count in counts) == sum(distinct.values()) - buffers
    head, embedding = vlm.model.get_output_embeddings().weight, vlm.model.get_input_embeddings().weight
    if type(vlm.model).__name__ != "Idefics3ForConditionalGeneration":
        assert head.data_ptr() == embedding.data_ptr(), "these two families share them"


def test_lora_leaves_the_answers_alone_until_it_is_trained_and_starts_from_its_seed(vlm: VisionLanguageModel) -> None:
    questions = mixed(vlm)
    with torch.no_grad():
        before = answer_loss(vlm, questions, 4).item()
        counts = set_trainable(vlm, {"language": "lora"}, Lora(rank=3, alpha=6), seed=5)
        assert answer_loss(vlm, questions, 4).item() == pytest.approx(before, rel=1e-6)
    assert has_adapter(vlm)
    by_group = {count.group: count for count in counts}
    assert 0 < by_group["language"].trainable < by_group["language"].parameters
    assert by_group["vision"].trainable == by_group["projector"].trainable == 0
    assert 0 < trainable_share(counts) < 0.2
    ranks = {p.shape[0] for n, p in vlm.model.named_parameters() if ".lora_A." in n}
    assert ranks == {3}


def test_adapters_of_one_seed_are_equal_and_of_another_are_not(load_tiny: Callable[[str], VisionLanguageModel]) -> None:
    found = []
    for seed in (1, 1, 2):
        vlm = load_tiny("llava")
        set_trainable(vlm, {"language": "lora"}, Lora(rank=2, alpha=4), seed=seed)
        found.append(torch.cat([p.flatten() for n, p in vlm.model.named_parameters() if ".lora_A." in n]))
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


def test_merged_adapters_leave_a_plain_model_with_the_same_answers(vlm: VisionLanguageModel) -> None:
    questions = mixed(vlm)
    set_trainable(vlm, {"language": "lora"}, Lora(rank=2, alpha=4))
    noise = torch.Generator().manual_seed(1)
    with torch.no_grad():
        plain = answer_loss(vlm, questions, 4).item()
        for name, parameter in vlm.model.named_parameters():
            if ".lora_B." in name:
                parameter += 0.5 * torch.randn(parameter.shape, generator=noise)
        adapted = answer_loss(vlm, questions, 4).item()
        merge_adapter(vlm)
        assert not has_adapter(vlm)
        assert answer_loss(vlm, questions, 4).item() == pytest.approx(adapted, rel=1e-5)
    assert abs(adapted - plain) > 1e-3
    assert not any("lora" in name for name, _ in vlm.model.named_parameters())


def test_mixed_modes_train_adapters_here_and_everything_there(llava: VisionLanguageModel) -> None:
    set_trainable(llava, {"language": "lora", "projector": "full"}, Lora(rank=2, alpha=4))
    training = {name for name, p in llava.model.named_parameters() if p.requires_grad}
    assert {name for name in training if group_of(plain_name(name)) == "language"} == {
        n for n in training if ".lora_" in n
    }
    projector = {n for n, _ in llava.model.named_parameters() if group_of(plain_name(n)) == "projector"}
    assert projector <= training
    assert not any(".lora_" in name for name in projector)


def test_features_are_cached_exactly_where_the_vision_side_is_frozen(llava: VisionLanguageModel) -> None:
    questions = mixed(llava)
    runs: list[int] = []
    llava.model.base_model.vision_tower.register_forward_hook(lambda *_: runs.append(1))
    set_trainable(llava, {"language": "full"})
    answer_loss(llava, questions, 4)
    once = len(runs)
    answer_loss(llava, questions, 4)
    assert len(runs) == once > 0
    set_trainable(llava, {"language": "frozen", "projector": "full"})
    for _ in range(2):
        answer_loss(llava, questions, 4)
    assert len(runs) == once + 2, "a projector that trains gives other features each step"


def test_features_already_held_survive_a_second_request(llava: VisionLanguageModel) -> None:
    """The pipeline hands features on and then sets what trains; they must not be computed again."""
    runs: list[int] = []
    llava.cache_features(True)
    answer_loss(llava, mixed(llava), 4)
    llava.model.base_model.vision_tower.register_forward_hook(lambda *_: runs.append(1))
    set_trainable(llava, {"language": "full"})
    answer_loss(llava, mixed(llava), 4)
    assert not runs


def test_the_table_shows_every_group(llava: VisionLanguageModel) -> None:
    table = group_table(set_trainable(llava, {"language": "full"}))
    assert [list(column.cells) for column in table.columns][:2] == [
        ["vision", "projector", "language"],
        ["frozen", "frozen", "full"],
    ]
    assert list(table.columns[3].cells)[:2] == ["0", "0"]


def test_putting_adapters_on_says_nothing(
    load_tiny: Callable[[str], VisionLanguageModel], recwarn: pytest.WarningsRecorder
) -> None:
    """PEFT asks for an attribute by its old name, and transformers would tell whoever runs a recipe."""
    set_trainable(load_tiny("llava"), {"language": "lora"}, Lora(rank=2, alpha=4))
    assert not [str(one.message) for one in recwarn if issubclass(one.category, FutureWarning)]
