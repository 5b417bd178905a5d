"""The doctor: flags what will fail, and says how to mend it."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

from mllmu_med import doctor
from mllmu_med.doctor import Finding, examine


def found(findings: list[Finding], what: str) -> Finding:
    (finding,) = (finding for finding in findings if finding.what == what)
    return finding


def test_a_machine_on_which_the_tests_run_has_no_problem(tmp_path: Path) -> None:
    findings = examine(tmp_path)
    assert [finding for finding in findings if finding.level == "problem"] == []
    assert found(findings, "torch").found == version("torch")
    assert all(bool(finding.mend) == (finding.level != "ok") for finding in findings)


def test_a_missing_library_is_a_problem_with_a_mend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def without_peft(name: str) -> str:
        if name == "peft":
            raise PackageNotFoundError(name)
        return "1.0"

    monkeypatch.setattr(doctor, "version", without_peft)
    finding = found(examine(tmp_path), "peft")
    assert (finding.level, finding.found) == ("problem", "not installed")
    assert "pip install" in finding.mend


def test_data_threads_and_hub_are_read_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLLMU_MED_DATA", str(tmp_path / "absent"))
    monkeypatch.setenv("OMP_NUM_THREADS", "4096")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    findings = examine(tmp_path)
    assert found(findings, "MLLMU_MED_DATA").level == "warning"
    assert found(findings, "cores").level == "warning"
    assert found(findings, "model hub").found == "offline (HF_HUB_OFFLINE)"
    monkeypatch.setenv("MLLMU_MED_DATA", str(tmp_path))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.delenv("HF_HUB_OFFLINE")
    findings = examine(tmp_path)
    assert found(findings, "MLLMU_MED_DATA") == Finding("MLLMU_MED_DATA", "ok", str(tmp_path))
    assert found(findings, "cores").level == "ok"
    assert found(findings, "model hub").found.startswith("online")


def test_little_disk_is_a_warning_and_a_read_only_folder_a_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 2**29})())
    assert found(examine(tmp_path), "disk").level == "warning"
    monkeypatch.setattr(doctor.os, "access", lambda *_: False)
    finding = found(examine(tmp_path), "disk")
    assert (finding.level, finding.mend) == ("problem", "Choose a folder with -o.")


def test_the_cache_is_shown_with_its_place_and_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "cache"
    monkeypatch.setenv("MLLMU_MED_CACHE", str(place))
    monkeypatch.setenv("MLLMU_MED_CACHE_SIZE", "2G")
    (place / "theta0" / "key").mkdir(parents=True)
    (place / "theta0" / "key" / "weights").write_bytes(bytes(300 << 20))
    finding = found(examine(tmp_path), "cache")
    assert finding == Finding("cache", "ok", f"0.3 of 2.0 GiB in 1 entries, {place}")
    monkeypatch.setenv("MLLMU_MED_CACHE_SIZE", "0")
    assert found(examine(tmp_path), "cache").found.startswith("nothing is kept")
    monkeypatch.setenv("MLLMU_MED_CACHE_SIZE", "large")
    assert found(examine(tmp_path), "cache").level == "problem"
    monkeypatch.delenv("MLLMU_MED_CACHE_SIZE")
    place.joinpath("file").write_text("")
    monkeypatch.setenv("MLLMU_MED_CACHE", str(place / "file" / "below"))
    assert found(examine(tmp_path), "cache").level == "warning"
