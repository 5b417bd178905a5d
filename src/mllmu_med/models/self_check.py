"""Is the packed row exact for this model, and the shared prefix? Asked at load, answered by the model's own forward.

Asked are one image with several questions, another image, no image, and two images together: 4 packed rows, and 8
branches behind 4 prefixes, against 8 forward passes of one short sequence each.
"""

from __future__ import annotations

import logging

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from mllmu_med.errors import DataError
from mllmu_med.models.images import together
from mllmu_med.models.network import unwrap
from mllmu_med.models.shared_prefix import Prefixes, teacher_forced
from mllmu_med.models.vlm import Question, VisionLanguageModel, forward_arguments
from mllmu_med.seeding import numpy_rng

log = logging.getLogger("mllmu_med")

FIRST, SECOND, BOTH = "0", "1", together("0", "1")
ASKED = (
    (FIRST, "What is shown?", "a small test image"),
    (FIRST, "Is it large, and on which side?", "no"),
    (FIRST, "Name it.", "noise"),
    (SECOND, "What is shown?", "a small test image"),
    (None, "What is shown?", "a small test image"),
    (None, "Is it large, and on which side?", "no"),
    (BOTH, "What is shown?", "a small test image"),
    (BOTH, "Is it large, and on which side?", "no"),
)
_CANNOT = (DataError, RuntimeError, TypeError, ValueError, IndexError)


def _picture(key: int) -> Image.Image:
    pixels = numpy_rng("self-check", key).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    return Image.fromarray(pixels).resize((256, 192))


def reference_logits(vlm: VisionLanguageModel, question: Question) -> Tensor:
    """Logits [answer tokens, V] by the model's own public forward: one sequence, default mask, default positions."""
    model = unwrap(vlm.model)
    branch = vlm.branch(question)
    prefix = vlm.prefix(question.image)
    count = len(branch.answer)
    ids = torch.tensor([[*prefix, *branch.prompt, *branch.answer[:-1]]], device=vlm.device)
    inputs = {} if question.image is None else vlm.pixel_inputs([vlm.images.get(question.image)])
    inputs |= vlm.token_types(ids)
    if vlm.rule.bidirectional == "prompt":  # as its processor marks them: 0 what is asked, 1 what is answered
        inputs["token_type_ids"] = (torch.arange(ids.shape[1], device=vlm.device) > ids.shape[1] - count).long()[None]
    if "logits_to_keep" in forward_arguments(type(model)):
        inputs["logits_to_keep"] = count
    logits = model(input_ids=ids, attention_mask=torch.ones_like(ids), **inputs).logits
    result: Tensor = logits[0, -count:].float()
    return result


@torch.no_grad()
def packing_difference(vlm: VisionLanguageModel, *, packed: bool, several: bool = True) -> float:
    """Largest difference of an answer token's log-probability between our paths and the model's own forward, in nats.

    Our paths are the row, which trains, and the branch behind a prefix's keys and values, which evaluates.

    Args:
        packed: several questions in a row, or the plain path.
        several: whether two images together are asked about too.
    """
    pictures = {key: _picture(int(key)) for key in (FIRST, SECOND)}
    questions = [Question(*asked) for asked in ASKED if several or asked[0] != BOTH]
    before, vlm.packed = vlm.packed, packed
    old_loader = vlm.images.loader
    vlm.attach_images(lambda image_id: pictures[image_id])
    try:
        rows, order = vlm.rows(questions, len(questions))
        hidden, layout = vlm.hidden(rows)
        behind = teacher_forced(
            vlm, [row.image for row in rows for _ in row.branches], [b for row in rows for b in row.branches],
            Prefixes(vlm, len(questions)),
        )  # fmt: skip
        ours, shared = (
            vlm.logits(states).log_softmax(-1).gather(-1, layout.target[:, None])[:, 0] for states in (hidden, behind)
        )
        worst = 0.0
        for place, index in enumerate(order):
            theirs = reference_logits(vlm, questions[index]).log_softmax(-1)
            own = layout.owner == place
            expected = theirs.gather(-1, layout.target[own][:, None])[:, 0]
            worst = max(worst, *(float((expected - mine[own]).abs().max()) for mine in (ours, shared)))
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

    A family that cannot take two images in one prompt is held to one: asking about more is an error from then on.

    Raises:
        DataError: even the plain path disagrees with the model's own forward, so nothing computed here could be
        trusted.
    """
    kind = type(unwrap(vlm.model)).__name__
    if vlm.rule.packable:
        why = _objection(vlm, packed=True)
        if why is None:
            return True
    else:
        why = "the images see the question, so no two questions can share them"
    log.warning("%s takes no packed rows (%s); using the plain path, which is slower", kind, why)
    if why := _objection(vlm, packed=False):
        raise DataError(f"{kind}: {why}")
    return False


def _objection(vlm: VisionLanguageModel, *, packed: bool) -> str | None:
    """Why our path is not the model's own forward; None if it is. Settles whether the model takes several images."""
    why: str | None = None
    for several in (True, False):
        vlm.images.takes_several = several
        try:
            difference = packing_difference(vlm, packed=packed, several=several)
        except _CANNOT as error:
            why = str(error).splitlines()[0] if str(error) else type(error).__name__
            continue
        if difference <= tolerance(vlm):
            return None
        why = f"log-probabilities differ by {difference:.2g} nats from the model's own forward"
    return why
