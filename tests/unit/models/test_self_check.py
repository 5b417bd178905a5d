"""A model for which packed rows are not exact must not be trained on them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from mllmu_med.errors import DataError
from mllmu_med.models import rows
from mllmu_med.models.load import load_model
from mllmu_med.models.network import AnswerNetwork
from mllmu_med.models.rows import Layout
from mllmu_med.models.self_check import check_packing, packing_difference
from mllmu_med.models.vlm import VisionLanguageModel
from mllmu_med.training.learn import answer_loss
from tests.conftest import picture
from tests.invariant.cases import mixed, own_loss

Folder = Callable[[str], Path]


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def see_everything_before(layout: Layout) -> torch.Tensor:
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
    monkeypatch.setattr(Layout, "visible", property(see_everything_before))
    vlm = load_model(model_folder("llava"))
    assert not vlm.packed
    [warning] = warnings_of(caplog)
    assert "LlavaForConditionalGeneration" in warning
    assert "using the plain path" in warning
    vlm.attach_images(picture)
    questions = mixed(vlm)
    with torch.no_grad():
        assert answer_loss(vlm, questions, 4).item() == pytest.approx(own_loss(vlm, questions).item(), rel=1e-5)


def test_wrong_positions_are_noticed(
    model_folder: Folder, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The mistake: positions run on over all branches."""
    lay_out = rows.lay_out

    def running(*arguments: object) -> Layout:
        from dataclasses import replace

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
    monkeypatch.setattr(llava, "pixel_inputs", lambda images: pixels([images[0]] * len(images)))
    assert packing_difference(llava, packed=True) > 1e-3
