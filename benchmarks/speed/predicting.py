"""What the formulas say of runs that nobody has taken here: model FLOPs and bytes, with every assumption named."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Decoder:
    """A language model behind a vision tower.

    Attributes:
        parameters: weights of the decoder layers. width, layers: of the decoder.
        key_value: width of keys and of values. vocabulary: rows of the head. image_tokens: positions of an image.
        tower: weights of the vision tower. patches: that go through it for one image.
    """

    parameters: float
    width: int
    layers: int
    key_value: int
    vocabulary: int
    image_tokens: int
    tower: float
    patches: int


MODELS = {
    "7B (LLaVA-1.5)": Decoder(6.48e9, 4096, 32, 4096, 32064, 576, 0.30e9, 577),
    "70B (Llama-2-70B behind the same tower)": Decoder(68.5e9, 8192, 80, 1024, 32064, 576, 0.30e9, 577),
}


@dataclass(frozen=True)
class Assumptions:
    """What the predictions stand on.

    Attributes:
        peak: FLOP/s of one GPU in bfloat16: the data sheet's dense figure for an H100 SXM. Nothing was measured on one.
        utilisation: share of the peak that is reached; SPEED.md's goal, not a measurement.
        gpus: of them, with perfect division of the work.
        records: of the benchmark. questions: per image. question, answer: tokens of each (LLaVA's tokenizer).
        epochs: passes over forget and retain records. lora: share of the decoder's weights in adapters.
        answers: share of the peak in generation, which waits for memory.
        bandwidth: bytes a second of one GPU's memory (data sheet), for generation token by token.
        batch: answers generated side by side on one GPU.
        bytes: of a number in bfloat16.
    """

    peak: float = 989e12
    utilisation: float = 0.5
    gpus: int = 8
    records: int = 1_000_000
    questions: int = 11
    question: int = 30
    answer: int = 5
    epochs: int = 1
    lora: float = 0.006
    bandwidth: float = 3.35e12
    batch: int = 128
    bytes: int = 2


def predict(name: str, given: Assumptions) -> dict[str, Any]:
    """Hours and bytes of one epoch of unlearning and one evaluation of every record.

    Packed row: P = image tokens + questions · (question + answer − 1) positions for ``questions`` records; singly each
    record has image tokens + question + answer − 1. Training with adapters: (4 + 2 · share of adapters) FLOPs for each
    weight and position, attention 12 · layers · width · keys a position; the tower once an image (cached), or, singly,
    for every record in every pass. The peers' NPO or KL adds a forward pass of θ0.
    """
    model = MODELS[name]
    images = given.records / given.questions
    own = given.question + given.answer - 1
    packed, single = model.image_tokens + given.questions * own, model.image_tokens + own
    per_position = (4 + 2 * given.lora) * model.parameters
    prefix_keys = model.image_tokens / 2
    keys_packed = (model.image_tokens * prefix_keys + given.questions * own * (model.image_tokens + own / 2)) / packed
    attention = 12.0 * model.layers * model.width
    head = 4.0 * model.width * model.vocabulary
    step_image = packed * (per_position + attention * keys_packed) + given.questions * given.answer * head
    tower = 2.0 * model.tower * model.patches
    fill = packed * (2.0 * model.parameters + attention / 3 * keys_packed)
    ours = given.epochs * images * step_image + images * (tower + fill)
    keys_single = single / 2
    forward_single = single * (
        2.0 * model.parameters + attention / 3 * keys_single + 2.0 * model.width * model.vocabulary
    )
    step_single = single * (per_position + attention * keys_single + head) + forward_single + 2 * tower
    peers = given.epochs * given.records * step_single
    rate = given.gpus * given.peak * given.utilisation
    weights = given.bytes * (model.parameters + 2 * model.vocabulary * model.width + model.tower)
    prefill = images * (tower + packed * 2.0 * model.parameters)
    passes = given.records * given.answer / (given.batch * given.gpus)
    decode = (
        passes * (weights + given.batch * 2 * given.bytes * model.layers * model.key_value * single) / given.bandwidth
    )
    return {
        "model": name, "assumptions": asdict(given),
        "ours_hours": ours / rate / 3600, "peers_hours": peers / rate / 3600, "ratio": peers / ours,
        "evaluation_hours": (prefill / rate + decode) / 3600,
        "weights_gib": weights / 2**30, "weights_gib_per_gpu": weights / given.gpus / 2**30,
        "features_gib": images * model.image_tokens * model.width * given.bytes / 2**30,
        "logprobs_mib": given.records * given.answer * 4 / 2**20,
        "states_gib": given.records * given.answer * model.width * given.bytes / 2**30,
    }  # fmt: skip
