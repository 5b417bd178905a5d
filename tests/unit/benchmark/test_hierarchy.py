from __future__ import annotations

from mllmu_med.benchmark.hierarchy import fact_path, privacy_path, source_path
from mllmu_med.benchmark.sample import Node
from tests.unit.benchmark.fake_source import record


def test_paths_run_from_the_root_on() -> None:
    assert [node.level for node in privacy_path("I", "P", "S", "contact")] == [
        "institution", "patient", "study", "section",
    ]  # fmt: skip
    assert fact_path(record("r1", body_part="lung"), None) == (
        Node("modality", "chest film"), Node("organ", "lung"), Node("finding", "nodule"), Node("instance", "r1"),
    )  # fmt: skip


def test_what_is_not_known_is_left_out() -> None:
    assert fact_path(record("r1", modality=None, content_type="organ", answer="lungs"), None) == (
        Node("instance", "r1"),
    )
    assert Node("finding", "lungs") in fact_path(record(content_type="organ", answer="lungs"), "rule-1")
    assert source_path(record(hierarchy={"section": "findings", "institution": "A", "other": "x"})) == (
        Node("institution", "A"), Node("section", "findings"),
    )  # fmt: skip
    assert source_path(record()) == ()
