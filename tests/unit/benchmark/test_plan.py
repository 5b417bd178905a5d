from __future__ import annotations

import pytest

from mllmu_med.benchmark.plan import PHI_CLASSES, BenchmarkPlan
from mllmu_med.errors import UsageError


def test_lists_and_single_numbers_become_tuples() -> None:
    plan = BenchmarkPlan(phi_classes=["name", "mrn"], repetitions=4, fields_per_patient=2)  # type: ignore[arg-type]
    assert plan.phi_classes == ("name", "mrn")
    assert plan.repetitions == (4,)
    assert plan.as_dict()["phi_classes"] == ["name", "mrn"]


def test_there_are_eighteen_safe_harbor_classes_and_the_default_uses_ten() -> None:
    assert len(set(PHI_CLASSES)) == 18
    assert len(BenchmarkPlan().phi_classes) == 10


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"patients_forgotten": -1}, "patients_forgotten must be a whole number of at least 0"),
        ({"patients_retained": 2.5}, "patients_retained must be a whole number"),
        ({"patients_holdout": True}, "patients_holdout must be a whole number"),
        ({"fields_per_patient": 1}, "at least 2"),
        ({"leaks_per_patient": 0}, "at least 1"),
        ({"phi_classes": ("mrn", "date")}, "must hold 'name'"),
        ({"phi_classes": ("name", "mnr")}, r"did you mean 'mrn'\?"),
        ({"phi_classes": ("name", "mrn", "mrn")}, "names something twice"),
        ({"phi_classes": ("name", "mrn")}, "fields_per_patient is 4, but phi_classes holds only 2"),
        ({"error_types": ("lateralty",)}, r"did you mean 'laterality'\?"),
        ({"repetitions": (0,)}, "numbers from 1 to 8"),
        ({"repetitions": ()}, "numbers from 1 to 8"),
        ({"forget_ratio": 0.6}, r"forget_ratio must be in \(0, 0.5\]"),
        ({"rule_share": 0.0}, r"rule_share must be in \(0, 1\]"),
        ({"split": "random"}, "must be one of source, own, not"),
        ({"test_share": 0.6, "validation_share": 0.4}, "together below 1"),
    ],
)
def test_a_bad_number_is_refused_and_named(changes: dict[str, object], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        BenchmarkPlan(**changes)  # type: ignore[arg-type]
