"""Images decoded beside the step: each of them once, none too early, and nothing left behind."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from PIL import Image

from mllmu_med.errors import DataError
from mllmu_med.models.groups import set_trainable
from mllmu_med.models.vlm import Question, VisionLanguageModel
from mllmu_med.testing.comparing import assert_bit_identical
from mllmu_med.training.learn import LearnSettings, learn
from mllmu_med.training.prefetch import AHEAD, decoded_ahead
from mllmu_med.training.settings import LoopSettings
from tests.conftest import picture

LOOP = LoopSettings(8, 1e-3, checkpoint_every=0)


class Loader:
    """The pictures, slowly; says who asked for which and when."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds
        self.asked: list[tuple[str, str]] = []

    def __call__(self, image: str) -> Image.Image:
        self.asked.append((image, threading.current_thread().name))
        time.sleep(self.seconds)
        return picture(image)


def questions(count: int) -> list[Question]:
    return [Question(f"image-{number}", "What is shown?", "chest X-ray") for number in range(count)]


def no_threads() -> bool:
    return not any(thread.name.startswith("decode") for thread in threading.enumerate())


def trained(vlm: VisionLanguageModel, loader: Callable[[str], Image.Image]) -> Any:
    vlm.attach_images(loader)
    set_trainable(vlm, {"language": "full"})
    learn(vlm, questions(12), LOOP, LearnSettings(batch=3, branches=1), seed=0)
    return {name: value.detach().clone() for name, value in vlm.model.state_dict().items()}


def test_each_image_is_decoded_once_by_a_thread_and_changes_nothing(
    load_tiny: Callable[[str], VisionLanguageModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two epochs: the second one finds everything prepared."""
    ahead, beside = Loader(), Loader()
    vlm = load_tiny("llava")
    found = trained(vlm, ahead)
    assert Counter(image for image, _ in ahead.asked) == {question.image: 1 for question in questions(12)}
    assert all(thread.startswith("decode") for _, thread in ahead.asked)
    assert vlm.images.loader is ahead
    assert no_threads()
    monkeypatch.setattr("mllmu_med.training.prefetch.AHEAD", -1)
    assert_bit_identical(trained(load_tiny("llava"), beside), found)
    assert all(thread == threading.current_thread().name for _, thread in beside.asked)


def test_no_more_than_the_coming_batches_are_begun(llava: VisionLanguageModel) -> None:
    loader = Loader()
    llava.attach_images(loader)
    with decoded_ahead(llava, lambda number: [f"image-{number}", None], 10) as reach:
        for number in range(10):
            reach(number)
            llava.images.get(f"image-{number}")
            begun = {image for image, _ in loader.asked}
            assert begun <= {f"image-{i}" for i in range(min(10, number + AHEAD + 1))}
    assert len(loader.asked) == 10


def test_what_is_prepared_already_is_not_decoded_again(llava: VisionLanguageModel) -> None:
    loader = Loader()
    llava.attach_images(loader)
    llava.images.get("image-0")
    with decoded_ahead(llava, lambda number: ["image-0", "image-1"], 3) as reach:
        reach(0)
        llava.images.get("image-1")
        reach(1)
    assert [image for image, _ in loader.asked] == ["image-0", "image-1"]


def test_what_a_batch_did_not_ask_for_is_dropped(llava: VisionLanguageModel) -> None:
    """An image that nobody wants does not stay in memory; asked for later it is loaded as without any threads."""
    loader = Loader()
    llava.attach_images(loader)
    with decoded_ahead(llava, lambda number: [f"image-{number}"], 20) as reach:
        for number in range(20):
            reach(number)
        ahead: Any = llava.images.loader
        assert len(ahead._coming) <= AHEAD + 1
        llava.images.get("image-0")
    assert Counter(image for image, _ in loader.asked)["image-0"] == 2


@pytest.mark.parametrize("error", [DataError("broken image"), KeyboardInterrupt()])
def test_an_error_comes_out_where_the_image_is_needed(llava: VisionLanguageModel, error: BaseException) -> None:
    def load(image: str) -> Image.Image:
        if image == "image-7":
            raise error
        return picture(image)

    llava.attach_images(load)
    set_trainable(llava, {"language": "full"})
    with pytest.raises(type(error)):
        learn(llava, questions(12), LOOP, LearnSettings(batch=3, branches=1), seed=0)
    assert llava.images.loader is load
    assert no_threads()


def test_an_end_before_the_last_batch_waits_for_nothing_that_has_not_begun(llava: VisionLanguageModel) -> None:
    loader = Loader(0.02)
    llava.attach_images(loader)

    def fail() -> None:
        with decoded_ahead(llava, lambda number: [f"{number}-{i}" for i in range(50)], 10) as reach:
            reach(0)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert len(loader.asked) < 50
    assert no_threads()
    assert llava.images.loader is loader


def test_decoding_goes_on_while_the_step_computes(llava: VisionLanguageModel) -> None:
    """Six images of 30 ms each, and steps of 40 ms between them: only the first image is waited for."""
    loader = Loader(0.03)
    llava.attach_images(loader)
    waited = 0.0
    with decoded_ahead(llava, lambda number: [f"image-{number}"], 6) as reach:
        for number in range(6):
            reach(number)
            began = time.perf_counter()
            assert llava.images.loader is not None
            llava.images.loader(f"image-{number}")
            waited += time.perf_counter() - began
            time.sleep(0.04)
    assert waited < 0.03 * 3, "without threads 0.18 s"
