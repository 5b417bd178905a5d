"""The rewriter on this machine: a transformers model from a folder; nothing leaves the machine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from mllmu_med.benchmark.rewriting.answer_cache import AnswerCache
from mllmu_med.benchmark.rewriting.asking import instructions, material, text_of
from mllmu_med.benchmark.rewriting.interface import GaveUp, Keys
from mllmu_med.benchmark.rewriting.tasks import Task
from mllmu_med.errors import DataError, UsageError
from mllmu_med.folders import digest, file_digest
from mllmu_med.progress import bar

_BLOCK = "benchmark.rewriter"


@dataclass(frozen=True)
class LocalRewriter:
    """Asks a text or image-text model in Hugging Face format, in batches, with greedy decoding.

    Attributes:
        model: folder with config, safetensors weights, tokenizer and chat template. No code in it is run.
        dtype: ``float32`` or ``bfloat16``.
        batch: texts at a time.
        answer_tokens: most tokens of one answer.
        cache: folder for the answers; a second run asks only what is missing. None = keep nothing.
        real_values: the values belong to real people; the model is then not told that they are invented.
    """

    name: ClassVar[str] = "local"

    model: Path
    dtype: Literal["float32", "bfloat16"] = "float32"
    batch: int = 8
    answer_tokens: int = 200
    cache: Path | None = None
    real_values: bool = False

    def __post_init__(self) -> None:
        for name in ("batch", "answer_tokens"):
            if getattr(self, name) < 1:
                raise UsageError(f"{_BLOCK}.{name} must be at least 1, not {getattr(self, name)!r}")

    def rewrite(self, tasks: Sequence[Task], seed_keys: Sequence[Keys]) -> list[str | GaveUp | None]:
        """One text per task, in order; the model is loaded once there is something to ask it.

        Raises:
            DataError: the folder is incomplete or holds pickled weights only.
        """
        folder = Path(self.model)
        if not (folder / "config.json").is_file():
            raise DataError("no config.json: not a model folder", file=folder, mend=f"Check {_BLOCK}.model.")
        prompts = [
            f"{instructions(task, real_values=self.real_values)}\n\n{material(task, keys)}"
            for task, keys in zip(tasks, seed_keys, strict=True)
        ]
        cache = None if self.cache is None else AnswerCache(self.cache)
        stamp = _stamp(folder) if cache is not None else []
        names = [digest([stamp, self.dtype, self.answer_tokens, prompt]) for prompt in prompts]
        answers: list[str | None] = [None if cache is None else cache.get(name) for name in names]
        missing = [place for place, answer in enumerate(answers) if answer is None]
        with bar("Rewriting", len(tasks)) as progress:
            progress.advance(len(tasks) - len(missing))
            if missing:
                ask = load(folder, self.dtype, self.answer_tokens)
                for start in range(0, len(missing), self.batch):
                    places = missing[start : start + self.batch]
                    for place, answer in zip(places, ask([prompts[place] for place in places]), strict=True):
                        answers[place] = answer
                        if cache is not None and answer is not None:
                            cache.put(names[place], answer)
                    progress.advance(len(places))
        return [
            GaveUp("the request was longer than the model's context") if answer is None else text_of(answer)
            for answer in answers
        ]


Ask = Callable[[Sequence[str]], list[str | None]]
"""From prompts to answers; None where a prompt does not fit into the model's context."""


def load(folder: Path, dtype: str, answer_tokens: int) -> Ask:
    """The model in ``folder``, ready to be asked.

    Raises:
        DataError: the folder is incomplete, holds only pickled weights, or is of a class that is not supported.
    """
    import torch
    from transformers import AutoConfig
    from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING

    device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        config = AutoConfig.from_pretrained(str(folder), trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise _unusable(folder, error) from None
    if type(config) in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING:
        return _image_text_model(folder, dtype, answer_tokens, device)
    return _text_model(folder, dtype, answer_tokens, device)


def _image_text_model(folder: Path, dtype: str, answer_tokens: int, device: str) -> Ask:
    from mllmu_med.models.generation import Prompt, generate
    from mllmu_med.models.load import load_model

    vlm = load_model(folder, dtype=dtype, device=device, packing="off")
    room = _context(vlm.model.config) - answer_tokens

    def ask(prompts: Sequence[str]) -> list[str | None]:
        fitting = [p for p in prompts if len(vlm.prompts.tokens(vlm.prompts.text(p, False))) <= room]
        made = generate(vlm, [Prompt(None, p) for p in fitting], max_new_tokens=answer_tokens, batch=len(prompts))
        answers = dict(zip(fitting, (answer.text for answer in made), strict=True))
        return [answers.get(prompt) for prompt in prompts]

    return ask


def _text_model(folder: Path, dtype: str, answer_tokens: int, device: str) -> Ask:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from mllmu_med.models.load import DTYPES
    from mllmu_med.models.quiet import no_foreign_bars

    name = str(folder)
    try:
        with no_foreign_bars():
            model = AutoModelForCausalLM.from_pretrained(
                name, dtype=DTYPES[dtype], use_safetensors=True, trust_remote_code=False
            )
        tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=False, padding_side="left")
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise _unusable(folder, error) from None
    if tokenizer.chat_template is None:
        raise DataError("the model has no chat template", file=folder, mend="Take an instruction-tuned model.")
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    model.to(device).eval()
    room = _context(model.config) - answer_tokens

    @torch.no_grad()
    def ask(prompts: Sequence[str]) -> list[str | None]:
        texts = {prompt: _chat(tokenizer, prompt) for prompt in prompts}
        lengths = {
            prompt: len(tokenizer(text, add_special_tokens=False)["input_ids"]) for prompt, text in texts.items()
        }
        fitting = [prompt for prompt in prompts if lengths[prompt] <= room]
        if not fitting:
            return [None] * len(prompts)
        inputs = tokenizer(
            [texts[prompt] for prompt in fitting], add_special_tokens=False, padding=True, return_tensors="pt"
        ).to(device)
        made = model.generate(
            input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"], max_new_tokens=answer_tokens,
            do_sample=False, num_beams=1, pad_token_id=tokenizer.pad_token_id,
        )  # fmt: skip
        new = made[:, inputs["input_ids"].shape[1] :]
        answers = dict(zip(fitting, tokenizer.batch_decode(new, skip_special_tokens=True), strict=True))
        return [answers.get(prompt) for prompt in prompts]

    return ask


def _chat(tokenizer: Any, prompt: str) -> str:
    """The prompt in the model's chat template, with control tokens broken up: data never speaks as the template."""
    added = [token.content for token in tokenizer.added_tokens_decoder.values() if token.special]
    for token in sorted({*tokenizer.all_special_tokens, *added}, key=lambda token: (-len(token), token)):
        if token.strip():
            prompt = prompt.replace(token, f"{token[0]} {token[1:]}")
    text: str = tokenizer.apply_chat_template(
        [{"role": "user", "content": prompt}], tokenize=False, add_generation_prompt=True
    )
    return text


def _context(config: Any) -> int:
    """Positions that the model has; without limit where its config does not say."""
    positions = getattr(config.get_text_config(), "max_position_embeddings", None)
    return int(positions) if positions else 2**31


def _stamp(folder: Path) -> list[list[str | int]]:
    """What tells one model from another without reading its weights: names, sizes and times; the config by content."""
    weights = sorted(folder.glob("*.safetensors"))
    found: list[list[str | int]] = [[path.name, path.stat().st_size, path.stat().st_mtime_ns] for path in weights]
    return [["config.json", file_digest(folder / "config.json")], *found]


def _unusable(folder: Path, error: Exception) -> DataError:
    reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
    return DataError(
        f"cannot be loaded as a text or image-text model: {reason}", file=folder,
        mend="It needs config.json, *.safetensors, a tokenizer and a chat template.",
    )  # fmt: skip
