from __future__ import annotations

from pathlib import Path

from mllmu_med.benchmark.check.findings import CheckReport, Finding, Findings, error, masked, warning


def test_a_finding_is_one_line() -> None:
    assert str(error("spans", "s1", "is not there")) == "error [spans] s1: is not there"
    assert str(warning("images", None, "nobody uses it")) == "warning [images] nobody uses it"


def test_only_errors_make_a_report_bad() -> None:
    assert CheckReport(Path(), 1, 1, (warning("a", None, "x"),)).ok
    assert not CheckReport(Path(), 1, 1, (warning("a", None, "x"), error("a", None, "x"))).ok


def test_the_smallest_are_kept_in_bounded_memory_whatever_the_order() -> None:
    found = Findings(3)
    found.add(error("a", f"s{number:05d}", "x") for number in reversed(range(5000)))
    found.add([warning("b", None, "y"), error("c", "s", "2"), error("c", "s", "1")])
    assert max(map(len, found._kept.values())) < 1100
    assert list(found.told()) == [
        Finding("error", "a", "s00000", "x"),
        Finding("error", "a", "s00001", "x"),
        Finding("error", "a", "s00002", "x"),
        Finding("error", "a", None, "and 4997 more"),
        Finding("error", "c", "s", "1"),
        Finding("error", "c", "s", "2"),
        Finding("warning", "b", None, "y"),
    ]
    assert found.counts == {("error", "a"): 5000, ("error", "c"): 2, ("warning", "b"): 1}


def test_all_are_told_if_asked_for() -> None:
    found = Findings(None)
    found.add(error("a", str(number), "x") for number in range(3000))
    assert len(found.told()) == 3000


def test_exactly_as_many_as_are_shown_need_no_more() -> None:
    found = Findings(2)
    found.add([error("a", "1", "x"), error("a", "2", "x")])
    assert len(found.told()) == 2


def test_a_private_value_is_shown_by_its_first_sign_at_most() -> None:
    assert masked("Maria Lopez") == "M… (11 signs)"
    assert masked("李小明") == "… (3 signs)"
    assert masked("Maria Lopez", real=True) == "… (11 signs)"
