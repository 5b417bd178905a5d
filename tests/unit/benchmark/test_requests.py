from __future__ import annotations

import pytest

from mllmu_med.benchmark.requests import Request, Requests, select
from mllmu_med.benchmark.sample import Node, Sample, Stratum, Subset
from mllmu_med.errors import UsageError
from tests.unit.benchmark.fake_source import record


def sample(name: str, *nodes: tuple[str, str]) -> Sample:
    path = tuple(Node(*node) for node in nodes)
    return Sample(name, name, Subset.FORGET_PRIVACY, Stratum.PRIVATE_IMAGE, "Q?", "A", "g", hierarchy=path)


def test_a_request_is_a_level_and_a_name() -> None:
    assert Request.parse(" patient = P 17 ") == ("patient", "P 17")
    assert Request.parse("instance=a=b") == ("instance", "a=b")
    for text in ("patient", "patient=", "=x", ""):
        with pytest.raises(UsageError, match="level=name"):
            Request.parse(text)
    with pytest.raises(UsageError, match="did you mean 'patient'"):
        Request.parse("patients=x")


def test_patients_are_named_as_their_source_names_them() -> None:
    named = Requests(["institution=A", "patient=P1"])
    assert named.naming_patient(record(hierarchy={"institution": "A", "patient": "P9"})) == [("institution", "A")]
    assert named.naming_patient(record(hierarchy={"institution": "A", "patient": "P1"})) == named.patients
    assert not named.naming_patient(record(hierarchy={"patient": "p1 "}))
    assert not named.naming_patient(record(hierarchy=None))
    assert not Requests(["modality=CT"]).naming_patient(record(hierarchy={"patient": "P1"}))
    by_id = Requests([], ["ab12"])
    assert by_id.naming_patient(record(extra={"request": "ab12"})) == ["ab12"]
    assert not by_id.naming_patient(record(extra={"request": "cd34"}))


@pytest.mark.parametrize(
    ("text", "named"),
    [("modality=chest FILM", True), ("modality=CT", False), ("organ=Lung", True), ("finding=Nodule", True),
     ("finding=cyst", False), ("instance=r1", True), ("instance=R1", False)],
)  # fmt: skip
def test_facts_are_named_at_every_level(text: str, named: bool) -> None:
    assert Requests([text]).name_fact(record("r1", body_part="lung", answer="nodule")) is named


def test_without_a_request_every_fact_is_meant_and_several_are_joined() -> None:
    assert Requests(()).name_fact(record())
    assert Requests(["patient=P"]).name_fact(record())
    assert Requests(["modality=CT", "finding=nodule"]).name_fact(record(answer="nodule"))
    assert not Requests(["organ=lung"]).name_fact(record(body_part=None))


def test_samples_are_chosen_by_any_node_above_them() -> None:
    samples = [
        sample("a", ("institution", "Alder"), ("patient", "p1")),
        sample("b", ("institution", "Alder"), ("patient", "p2")),
        sample("c", ("modality", "CT"), ("organ", "p1")),
        sample("d"),
    ]
    assert [s.id for s in select(samples, ["institution=alder"])] == ["a", "b"]
    assert [s.id for s in select(samples, ["modality=CT", "patient=p1"])] == ["a", "c"]
    with pytest.raises(UsageError, match=r"names nothing here \(did you mean 'Alder'"):
        select(samples, ["institution=Aldr"])
