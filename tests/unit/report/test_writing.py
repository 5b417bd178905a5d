from __future__ import annotations

import os
from pathlib import Path

import pytest

from mllmu_med.report.writing import write_whole


def test_an_earlier_file_is_replaced(tmp_path: Path) -> None:
    target = tmp_path / "new" / "page.html"
    write_whole(target, b"one")
    write_whole(target, b"two")
    assert target.read_bytes() == b"two"
    assert os.listdir(target.parent) == ["page.html"]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_failure_leaves_the_earlier_file_and_nothing_else(
    step: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "page.html"
    write_whole(target, b"one")

    def full(*given: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, step, full)
    with pytest.raises(OSError, match="No space"):
        write_whole(target, b"two")
    assert target.read_bytes() == b"one"
    assert os.listdir(tmp_path) == ["page.html"]
