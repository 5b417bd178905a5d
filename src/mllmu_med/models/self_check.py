"""Is the packed row exact for this model? Asked at load, answered by comparison with the model's own forward."""

from __future__ import annotations

import logging

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from mllmu_med.errors import DataError
from mllmu_med.models.network import unwrap
from mllmu_med.models.vlm import Question, VisionLanguageModel, forward_arguments
from mllmu_med.seeding import numpy_rng

log = logging.getLogger("mllmu_med")

QUESTIONS = (("What is shown?", "a small test image"), ("Is it large, and on which side?", "no"), ("Name it.", "noise"))


def _picture(key: int) -> Image.Image:
    pixels = numpy_rng("self-check", key).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    return Image.fromarray(pixels).resize((256, 192))


def reference_logits(vlm: VisionLanguageModel, question: Question) -> Tensor:
    """Logits [answer tokens, V] by the model's own public forward: one sequence, default mask, default positions."""
    branch = vlm.branch(question)
    prefix = vlm.prefix(question.image)
    ids = torch.tensor([[*prefix, *branch.prompt, *branch.answer[:-1]]], device=vlm.device)
    inputs = {} if question.image is None else vlm.pixel_inputs([vlm.images.get(question.image)])
    if "mm_token_type_ids" in forward_arguments(type(unwrap(vlm.model))):
        inputs["mm_token_type_ids"] = (ids == vlm.prompts.image_token_id).long()
    logits = unwrap(vlm.model)(input_ids=ids, attention_mask=torch.ones_like(ids), **inputs).logits
    result: Tensor = logits[0, len(prefix) + len(branch.prompt) - 1 :].float()
    return result


@torch.no_grad()
def packing_difference(vlm: VisionLanguageModel, *, packed: bool) -> float:
    """Largest difference of an answer token's log-probability between our path and the model's own forward, in nats."""
    pictures = {str(k): _picture(k) for k in range(2)}
    questions = [Question(image, q, a) for image in (*pictures, None) for q, a in QUESTIONS]
    before, vlm.packed = vlm.packed, packed
    old_loader = vlm.images.loader
    vlm.attach_images(lambda image_id: pictures[image_id])
    try:
        rows, order = vlm.rows(questions, len(QUESTIONS))
        hidden, layout = vlm.hidden(rows)
        ours = vlm.logits(hidden).log_softmax(-1).gather(-1, layout.target[:, None])[:, 0]
        worst = 0.0
        for place, index in enumerate(order):
            theirs = reference_logits(vlm, questions[index]).log_softmax(-1)
            mine = ours[layout.owner == place]
            target = layout.target[layout.owner == place]
            worst = max(worst, float((theirs.gather(-1, target[:, None])[:, 0] - mine).abs().max()))
    finally:
        vlm.packed = before
        if old_loader is not None:
            vlm.attach_images(old_loader)
        else:
            vlm.images.clear()
            vlm.images.loader = None
    return worst


def tolerance(vlm: VisionLanguageModel) -> float:
    """What rounding may explain, in nats."""
    return 1e-3 if unwrap(vlm.model).dtype == torch.float32 else 0.25


def check_packing(vlm: VisionLanguageModel) -> bool:
    """True if packed rows are exact; False, with one warning, if only the plain path is.

    Raises:
        DataError: even the plain path disagrees with the model's own forward, so nothing computed here could be
        trusted.
    """
    kind = type(unwrap(vlm.model)).__name__
    try:
        difference = packing_difference(vlm, packed=True)
    except (RuntimeError, TypeError, ValueError, IndexError) as error:
        log.warning("%s cannot take packed rows (%s); using the plain path", kind, str(error).splitlines()[0])
    else:
        if difference <= tolerance(vlm):
            return True
        log.warning("packed rows differ by %.2g nats on %s; using the plain path, which is slower", difference, kind)
    plain = packing_difference(vlm, packed=False)
    if plain > tolerance(vlm):
        raise DataError(f"{kind}: log-probabilities differ by {plain:.2g} nats from the model's own forward")
    return False
