"""A model for which packed rows are not exact must not be trained on them."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from mllmu_med.errors import DataError
from mllmu_med.models import rows, self_check, shared_prefix
from mllmu_med.models.images import ImageInputs, ImagePreparer, together
from mllmu_med.models.load import load_model
from mllmu_med.models.network import AnswerNetwork
from mllmu_med.models.rows import Layout
from mllmu_med.models.self_check import BOTH, FIRST, SECOND, check_packing, packing_difference
from mllmu_med.models.vlm import Question, VisionLanguageModel
from mllmu_med.training.learn import answer_loss
from tests.conftest import EVERY_FAMILY, picture
from tests.invariant.cases import mixed, own_loss

Folder = Callable[[str], Path]


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def see_everything_before(layout: Layout, *_: object, **__: object) -> torch.Tensor:
    """The mistake: branches see each other, as if they were one text."""
    length = layout.input_ids.shape[1]
    causal = torch.ones(length, length, dtype=torch.bool).tril()
    return (causal & (layout.segment >= 0)[:, None, :])[:, None]


def test_it_is_silent_where_packed_rows_are_exact(vlm: VisionLanguageModel, caplog: pytest.LogCaptureFixture) -> None:
    assert check_packing(vlm)
    assert warnings_of(caplog) == []


def test_a_wrong_mask_is_noticed_and_the_plain_path_taken(
    model_folder: Folder, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("mllmu_med.models.masks.visible", see_everything_before)
    vlm = load_model(model_folder("llava"))
    assert not vlm.packed
    [warning] = warnings_of(caplog)
    assert "LlavaForConditionalGeneration" in warning
    assert "using the plain path" in warning
    vlm.attach_images(picture)
    questions = mixed(vlm)
    with torch.no_grad():
        assert answer_loss(vlm, questions, 4).item() == pytest.approx(own_loss(vlm, questions).item(), rel=1e-5)


def test_a_wrong_pass_behind_the_shared_prefix_is_noticed(
    model_folder: Folder, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The mistake: one position too far. Packed rows are right, but evaluation would go another way than they do."""
    one_pass = shared_prefix._pass

    def shifted(
        vlm: VisionLanguageModel, ids: Tensor, attention: Tensor, position: Tensor, *rest: Any, **more: Any
    ) -> Any:
        return one_pass(vlm, ids, attention, position + 1, *rest, **more)

    monkeypatch.setattr(shared_prefix, "_pass", shifted)
    assert not load_model(model_folder("llava")).packed
    assert len(warnings_of(caplog)) == 1


def test_wrong_positions_are_noticed(
    model_folder: Folder, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The mistake: positions run on over all branches."""
    lay_out = rows.lay_out

    def running(*arguments: object) -> Layout:
        layout = lay_out(*arguments)  # type: ignore[arg-type]
        prefix = (layout.segment == 0).sum(1, keepdim=True)
        places = torch.arange(layout.input_ids.shape[1]).expand_as(layout.offset)
        return replace(layout, offset=torch.where(layout.segment > 0, places - prefix, places))

    monkeypatch.setattr("mllmu_med.models.vlm.lay_out", running)
    assert not load_model(model_folder("llava")).packed
    assert len(warnings_of(caplog)) == 1


def test_a_model_that_refuses_packed_rows_takes_the_plain_path(
    model_folder: Folder, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    forward = AnswerNetwork.forward

    def refuse(self: AnswerNetwork, layout: Layout, *arguments: object) -> torch.Tensor:
        if int(layout.segment.max()) > 1:
            raise ValueError("4-D masks are not supported\nand more lines")
        return forward(self, layout, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(AnswerNetwork, "forward", refuse)
    assert not load_model(model_folder("llava")).packed
    [warning] = warnings_of(caplog)
    assert "4-D masks are not supported" in warning
    assert "\n" not in warning


def test_a_model_that_even_the_plain_path_gets_wrong_is_refused(
    model_folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    logits = AnswerNetwork.logits
    monkeypatch.setattr(AnswerNetwork, "logits", lambda self, hidden, head=None: 1.5 * logits(self, hidden, head))
    with pytest.raises(DataError, match=r"LlavaForConditionalGeneration: log-probabilities differ by [\d.]+ nats"):
        load_model(model_folder("llava"))


def test_the_check_leaves_the_model_as_it_was(llava: VisionLanguageModel) -> None:
    loader = llava.images.loader
    llava.packed = False
    packing_difference(llava, packed=True)
    assert llava.packed is False
    assert llava.images.loader is loader
    assert llava.images._entries == {}, "no picture of the check stands for one of the benchmark"


def test_the_check_would_see_a_model_that_never_looks_at_the_image(
    llava: VisionLanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mistake: pixels of one image given to all rows."""
    pixels = llava.pixel_inputs
    # Two images together keep theirs, or the number of features would give the mistake away.
    monkeypatch.setattr(
        llava, "pixel_inputs", lambda images: pixels([images[0] if one.count == 1 else one for one in images])
    )
    assert packing_difference(llava, packed=True) > 1e-3


def test_every_kind_of_row_is_compared(llava: VisionLanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """One image with several questions, another, none, two together: each alone against the model's own forward."""
    asked: list[str | None] = []
    own = self_check.reference_logits
    monkeypatch.setattr(
        self_check, "reference_logits", lambda vlm, question: (asked.append(question.image), own(vlm, question))[1]
    )
    forwards: list[int] = []
    llava.model.register_forward_hook(lambda *_: forwards.append(1))
    packing_difference(llava, packed=True)
    assert Counter(asked) == {FIRST: 3, SECOND: 1, None: 2, BOTH: 2}
    assert len(forwards) == 8, "one short sequence each, and no more"


def test_a_family_that_takes_no_two_images_is_packed_and_held_to_one(
    model_folder: Folder, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    inputs = ImagePreparer._inputs

    def refuse(self: ImagePreparer, encoded: dict[str, object], ids: list[int], images: int) -> ImageInputs:
        if images > 1:
            raise ValueError("one image at a time")
        return inputs(self, encoded, ids, images)

    monkeypatch.setattr(ImagePreparer, "_inputs", refuse)
    vlm = load_model(model_folder("llava"))
    assert vlm.packed
    assert warnings_of(caplog) == []
    vlm.attach_images(picture)
    monkeypatch.undo()
    with pytest.raises(DataError, match="'llava' takes one image a question here, not 2"):
        vlm.images.get(together("a", "b"))


def test_two_images_in_the_wrong_order_are_noticed(
    model_folder: Folder, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    prepare = ImagePreparer._prepare_several

    def turned(self: ImagePreparer, images: tuple[str, ...]) -> ImageInputs:
        return replace(prepare(self, images), tensors=prepare(self, images[::-1]).tensors)

    def own(vlm: VisionLanguageModel, question: Question) -> torch.Tensor:
        with monkeypatch.context() as patch:
            patch.setattr(ImagePreparer, "_prepare_several", prepare)
            vlm.images.clear()
            return reference(vlm, question)

    reference = self_check.reference_logits
    monkeypatch.setattr(ImagePreparer, "_prepare_several", turned)
    monkeypatch.setattr(self_check, "reference_logits", own)
    vlm = load_model(model_folder("llava"))
    assert vlm.packed
    assert not vlm.images.takes_several


@pytest.mark.parametrize("family", EVERY_FAMILY)
def test_what_is_left_of_the_tolerance(family: str, load_tiny: Callable[[str], VisionLanguageModel]) -> None:
    """Single precision leaves a hundredth of it, in every family, so a mistake stands out."""
    vlm = load_tiny(family)
    assert vlm.images.takes_several
    assert packing_difference(vlm, packed=vlm.packed) < 1e-5
