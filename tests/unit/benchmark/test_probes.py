from __future__ import annotations

import pytest

from mllmu_med.benchmark.phrasing import Wordings
from mllmu_med.benchmark.probes import probes
from mllmu_med.benchmark.sample import Probe

WORDED = Wordings("What is it?", ("Trained?",), ("Held one?", "Held two?", "Held three?"))


def test_the_probes_of_an_image_question() -> None:
    found = probes(WORDED, "en", has_image=True)
    assert [probe.name for probe in found] == [
        "paraphrase-1", "paraphrase-2", "paraphrase-3", "prefix-1", "prefix-2", "blank", "mismatched", "generic",
    ]  # fmt: skip
    assert found[1] == Probe("paraphrase-2", "Held two?")
    assert found[3] == Probe("prefix-1", "For the hospital audit: What is it?")
    assert found[5] == Probe("blank", "What is it?", image="blank")
    assert found[6] == Probe("mismatched", "What is it?", image="mismatched")
    assert "Trained?" not in {probe.question for probe in found}


@pytest.mark.parametrize("language", ["en", "zh"])
def test_without_an_image_there_is_nothing_to_exchange(language: str) -> None:
    found = probes(WORDED, language, has_image=False)
    assert [probe.name for probe in found] == ["paraphrase-1", "paraphrase-2", "paraphrase-3", "prefix-1", "prefix-2"]
    assert {probe.image for probe in found} == {"own"}
    assert all("What is it?" in probe.question for probe in found[3:])
