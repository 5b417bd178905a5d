"""Made-up patients in the evaluation: who they are, who is asked, and what the results say."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from mllmu_med.benchmark.sample import Stratum, Subset
from mllmu_med.engines.interface import Engine
from mllmu_med.evaluation.membership import kind_of
from mllmu_med.evaluation.spans import tells
from mllmu_med.evaluation.strangers import OfStrangers, strangers_kept
from mllmu_med.folders import read_json
from mllmu_med.models.generation import Answer, Prompt
from mllmu_med.pipeline.evaluating import asked_samples
from mllmu_med.pipeline.strangers import (
    FILE,
    ask_strangers,
    read_strangers,
    strangers_asked,
    strangers_likelihoods,
    write_strangers,
)
from mllmu_med.pipeline.workshop import Workshop
from mllmu_med.training.siblings import made_up_beside
from tests.unit.pipeline.conftest import tiny


def test_they_are_shown_on_ordinary_images_of_the_part_that_is_evaluated(finished: Path) -> None:
    for part in ("test", "validation"):
        workshop = Workshop(tiny(f"evaluate.part={part}"), finished)
        samples = asked_samples(workshop)
        ordinary = {s.image_id for s in samples if s.subset is Subset.TEST and s.stratum is Stratum.GENERAL}
        found = strangers_asked(workshop, samples)
        assert len({sample.patient_id for sample in found}) == 32
        assert {sample.image_id for sample in found} <= {*ordinary, None}
        assert {sample.image_id for sample in found} != {None}


def test_they_are_nobody_that_is_forgotten_or_that_a_method_makes_up(finished: Path) -> None:
    workshop = Workshop(tiny(), finished)
    found = strangers_asked(workshop, asked_samples(workshop))
    forget = workshop.subset(Subset.FORGET_PRIVACY)
    values = {span.value for sample in forget for span in sample.spans}
    assert values
    assert not [s for s in found for value in values if tells(f"{s.question} . {s.answer}", value)]
    trained = made_up_beside(forget, workshop.subset(Subset.RETAIN), 200, workshop.recipe.seed)
    named = {s.answer for s in trained if s.stratum is Stratum.PRIVATE_IMAGE}
    assert not {s.answer for s in found if s.stratum is Stratum.PRIVATE_IMAGE} & named


def test_every_row_is_asked_the_same_and_the_results_hold_what_is_left(finished: Path) -> None:
    rows = ("theta0", "oracle", "collapse", "ga", "npo")
    answers = {name: read_strangers(finished / "evaluations" / name).answers for name in rows}
    assert len({tuple(one[:3] for one in found) for found in answers.values()}) == 1
    assert answers["theta0"]
    assert read_strangers(finished / "evaluations" / "base") == ([], [])
    results = {row["name"]: row for row in read_json(finished / "results" / "results.json")["rows"]}
    assert results["theta0"]["strangers"]["kept"] == 1
    for name in rows:
        same = [a.answer == b.answer for a, b in zip(answers[name], answers["theta0"], strict=True)]
        assert results[name]["strangers"]["kept"] == sum(same) / len(same)
        assert results[name]["strangers"]["questions"] == len(same)
    assert "strangers" not in results["refuse_all"]


class Saying:
    """An engine that says one thing to everything."""

    tells_likelihoods = False

    def __init__(self, text: str) -> None:
        self.text = text

    def answers(self, prompts: Sequence[Prompt], *, max_new_tokens: int, progress: Any = None) -> list[Answer]:
        return [Answer(self.text, truncated=False) for _ in prompts]


def test_what_is_said_of_strangers_is_compared_and_not_written_down(finished: Path, tmp_path: Path) -> None:
    """θ0 takes them for patients whom it remembers."""
    workshop = Workshop(tiny(), finished)
    strangers = strangers_asked(workshop, asked_samples(workshop))
    told = {
        text: ask_strangers(cast(Engine, Saying(text)), strangers, max_new_tokens=4, title="x")
        for text in ("Ana Ruiz", "Ole Berg")
    }
    write_strangers(OfStrangers(told["Ana Ruiz"], []), tmp_path)
    assert "Ana Ruiz" not in (tmp_path / FILE).read_text()
    assert read_strangers(tmp_path) == (told["Ana Ruiz"], [])
    for text, kept in (("Ana Ruiz", 1.0), ("Ole Berg", 0.0)):
        found = strangers_kept(told[text], told["Ana Ruiz"], seed=0)
        assert found is not None
        assert found["kept"] == kept


def test_the_forgotten_are_compared_with_them_by_likelihood(finished: Path) -> None:
    """A record about an image for each made-up patient, of kinds that the forgotten have; .5 by hand for equal ones."""
    workshop = Workshop(tiny(), finished)
    strangers = strangers_asked(workshop, asked_samples(workshop))
    pictured = [sample for sample in strangers if sample.stratum is Stratum.PRIVATE_IMAGE]
    results = {row["name"]: row for row in read_json(finished / "results" / "results.json")["rows"]}
    for name in ("theta0", "oracle", "collapse", "ga", "npo"):
        records = read_strangers(finished / "evaluations" / name).records
        assert [record.kind for record in records] == [kind_of(sample) for sample in pictured]
        assert all(record.logprob is not None and record.logprob <= 0 for record in records)
        assert 0 <= results[name]["strangers"]["membership_auc"] <= 1


def test_who_tells_no_likelihoods_has_no_records(finished: Path) -> None:
    workshop = Workshop(tiny(), finished)
    strangers = strangers_asked(workshop, asked_samples(workshop))
    assert strangers_likelihoods(cast(Engine, Saying("x")), strangers, title="x") == []


def test_none_are_asked_where_the_recipe_says_so(finished: Path) -> None:
    workshop = Workshop(tiny("evaluate.strangers=0"), finished)
    assert strangers_asked(workshop, asked_samples(workshop)) == []
