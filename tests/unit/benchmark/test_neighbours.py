from __future__ import annotations

import pytest

from mllmu_med.benchmark import neighbours as module
from mllmu_med.benchmark.neighbours import SameQuestion
from tests.unit.benchmark.fake_source import record


def test_the_first_few_places_of_the_first_few_questions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_PLACES", 2)
    monkeypatch.setattr(module, "_MOST_QUESTIONS", 2)
    found = SameQuestion()
    for place, question in enumerate(("One?", "one", "Two?", "ONE?", "Three?", "two")):
        found.observe(record(question=question), place)
    found.observe(record(question="Two?", image=None), 9)
    assert list(found.places("One")) == [0, 1]
    assert list(found.places("two?")) == [2, 5]
    assert list(found.places("Three?")) == []
