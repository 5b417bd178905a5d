from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mllmu_med.benchmark.check.probes import Probes
from mllmu_med.benchmark.sample import Probe, Sample, Stratum, Subset
from tests.unit.benchmark.check.tampering import Good, about, changed, checks


def sample(sample_id: str = "s", **fields: Any) -> Sample:
    """A forgotten sample."""
    made: dict[str, Any] = {"subset": Subset.FORGET_PRIVACY, "question": "Who is it?", "image_id": "i", **fields}
    return Sample(id=sample_id, record_id="r", stratum=Stratum.PRIVATE_IMAGE, answer="Ann", group="g", **made)


def judged(*samples: Sample) -> list[str]:
    """What is found in these samples."""
    family = Probes()
    for one in samples:
        family.note(one)
    return [f"{finding.sample_id}: {finding.text}" for one in samples for finding in family.judge(one)]


def test_a_held_out_wording_that_was_trained_on_is_told() -> None:
    probed = sample(probes=(Probe("paraphrase-1", "Whose is it?"), Probe("prefix-2", "Listen: who?")))
    assert judged(probed) == []
    other = sample("o", subset=Subset.RETAIN, question="whose is it", phrasings=("LISTEN: WHO?",))
    assert judged(probed, other) == ["s: paraphrase-1 was trained on", "s: prefix-2 was trained on"]
    assert judged(other, probed) == judged(probed, other)  # whichever comes first


def test_the_same_wording_elsewhere_is_no_matter() -> None:
    probed = sample(probes=(Probe("paraphrase-1", "Whose is it?"),))
    for fields in ({"image_id": "j"}, {"image_id": None}, {"subset": Subset.TEST}, {"subset": Subset.HOLDOUT}):
        assert judged(probed, sample("o", **{"subset": Subset.RETAIN, "question": "Whose is it?", **fields})) == []


def test_without_an_image_the_group_counts() -> None:
    probed = sample(image_id=None, probes=(Probe("paraphrase-1", "Whose is it?"),))
    trained = sample("o", image_id=None, subset=Subset.RETAIN, question="Whose is it?")
    assert judged(probed, trained) == ["s: paraphrase-1 was trained on"]


@pytest.mark.parametrize(
    "probe",
    [
        Probe("generic", "Who is it?"), Probe("variant-2", "Who is it?", "variant-2"),
        Probe("blank", "Who is it?", "blank"), Probe("mismatched", "Who is it?", "mismatched"),
        Probe("other-1", "Who is it?", "other", "j"), Probe("unburned", "Who is it?", "other", "j"),
        Probe("language-zh", "Who is it?", language="zh"), Probe("neighbour-question", "Who is it?", answer="Bo"),
    ],
)  # fmt: skip
def test_the_other_probes_ask_trained_questions_on_purpose(probe: Probe) -> None:
    assert judged(sample(probes=(probe,))) == []


@pytest.mark.parametrize(
    ("probe", "text"),
    [
        (Probe("riddle-1", "Who?"), "riddle-1 is of no known family"),
        (Probe("generic", ""), "generic asks nothing"),
        (Probe("variant-4", "Who?", "variant-4"), "variant-4 has the image 'variant-4'; known here: own, blank"),
        (Probe("other-1", "Who?", "other"), "other-1 does not name its image"),
        (Probe("generic", "Who?", "own", "j"), "generic names an image but does not show it"),
        (Probe("neighbour-image", "Who?", "other", "j"), "neighbour-image has no answer"),
    ],
)
def test_what_is_wrong_with_a_probe_is_told(probe: Probe, text: str) -> None:
    found = judged(sample(probes=(probe,)))
    assert len(found) == 1
    assert found[0].startswith(f"s: {text}")


def test_a_text_only_sample_shows_no_image() -> None:
    assert judged(sample(image_id=None, probes=(Probe("prefix-1", "So, who?"), Probe("generic", "Who?", "none")))) == []
    found = judged(sample(image_id=None, probes=(Probe("blank", "Who?", "blank"),)))
    assert found == ["s: blank has the image 'blank'; known here: own, none"]


def test_two_probes_of_one_name_are_told() -> None:
    probes = (Probe("generic", "Who?"), Probe("generic", "Whom?"), Probe("blank", "Who?", "blank"))
    assert judged(sample(probes=probes)) == ["s: 2 probes are called generic"]


def test_faults_in_a_whole_benchmark(good: Good, tmp_path: Path) -> None:
    leak = good.one(form="leak", subset=Subset.FORGET_PRIVACY)
    gone = good.one(subset=Subset.FORGET_INCORRECTNESS, stratum=Stratum.WRONG_IMAGE)
    changes = {
        leak.id: {"probes": (*leak.probes, Probe("paraphrase-99", leak.phrasings[0].upper()))},
        gone.id: {"probes": (*gone.probes, Probe("other-1", gone.question, "other", "0" * 64))},
    }
    report = good.tampered(tmp_path / "b", changed(good.samples, changes))
    assert checks(report) == {"probes", "images"}
    assert about(report, leak.id) == ["paraphrase-99 was trained on"]
    assert about(report, gone.id) == ["a probe's image 000000000000 is not stored"]
