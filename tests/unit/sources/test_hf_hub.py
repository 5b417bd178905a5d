"""Datasets on the Hub, as far as can be told without a network."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from datasets import Value

from mllmu_med.errors import DataError
from mllmu_med.sources import hf_rows
from mllmu_med.sources.hf import HfSource
from tests.unit.sources.hf_folders import data, features, png, read, rows, save

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.mark.parametrize("use", [lambda source: list(source.records()), lambda source: source.fingerprint()])
def test_the_hub_without_a_network_is_one_line(use: Callable[[HfSource], Any]) -> None:
    reason = r"^nobody/nothing: no folder here, and cannot be found on the Hub \(.*offline.*\)\. Go"
    with pytest.raises(DataError, match=reason) as caught:
        use(HfSource("nobody/nothing"))
    assert "\n" not in str(caught.value)
    with pytest.raises(DataError, match=r"cannot be opened as a dataset .*Go online"):
        list(HfSource("nobody/nothing", revision=COMMIT).records())


def test_a_refused_connection_is_one_line(tmp_path: Path) -> None:
    """The HTTP library's own errors, in a process that is not told to stay offline."""
    code = "from mllmu_med.sources import hf_rows; hf_rows.commit('a/b', None)"
    environment = {**os.environ, "HF_HUB_OFFLINE": "0", "HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(tmp_path)}
    result = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60)
    assert "mllmu_med.errors.DataError: a/b: no folder here, and cannot be found on the Hub" in result.stderr


class Hub:
    """Stands for the Hub: asks for a commit and for files are noted, and answered from a folder."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        import datasets
        import huggingface_hub

        self.asked: list[Any] = []
        self.folder, self.load = folder, datasets.load_dataset_builder
        monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", self.info)
        monkeypatch.setattr(datasets, "load_dataset_builder", self.builder)

    def info(self, path: str, *, revision: str | None, timeout: float) -> SimpleNamespace:
        self.asked.append(("commit of", path, revision))
        return SimpleNamespace(sha=COMMIT)

    def builder(self, path: str, **options: Any) -> Any:
        self.asked.append(("files of", path, options["name"], options["revision"]))
        assert options.keys() == {"name", "revision", "cache_dir"}
        return self.load(str(self.folder), cache_dir=options["cache_dir"])


def test_what_is_on_the_hub_is_read_at_one_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub = Hub(save(tmp_path / "set", rows(3)), monkeypatch)
    monkeypatch.setattr(hf_rows, "_check_places", lambda *_: None)
    found = read("owner/name", config="c", revision="v1")
    assert [record.id for record in found] == ["train-row-0", "train-row-1", "train-row-2"]
    assert data(found[0]) == png(0)
    assert hub.asked == [("commit of", "owner/name", "v1"), ("files of", "owner/name", "c", COMMIT)]
    hub.asked.clear()
    read("owner/name", revision=COMMIT)
    assert hub.asked == [("files of", "owner/name", None, COMMIT)]


def test_files_elsewhere_on_the_hub_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Hub(save(tmp_path / "set", rows(1)), monkeypatch)
    with pytest.raises(DataError, match=r"owner/name: its file '/.*' lies outside"):
        read("owner/name")
    own = [f"hf://datasets/owner/name@{COMMIT}/data/a.parquet"]
    hf_rows._check_places("owner/name", COMMIT, {"train": own})
    for other in ("hf://datasets/owner/name2@main/a", "hf://datasets/owner/name@other/a", "https://example.org/a"):
        with pytest.raises(DataError, match="lies outside"):
            hf_rows._check_places("owner/name", COMMIT, {"train": [*own, other]})


def test_images_as_files_on_the_hub_ask_for_a_download(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = save(tmp_path / "set", rows(1, image=lambda n: "a.png"), features(image=Value("string")))
    Hub(folder, monkeypatch)
    monkeypatch.setattr(hf_rows, "_check_places", lambda *_: None)
    with pytest.raises(
        DataError, match=r"name, record train row 0: no such image folder\. Images are given by name: download"
    ):
        read("owner/name")


def test_the_card_says_where_the_data_comes_from(tmp_path: Path) -> None:
    assert HfSource("owner/name").about.url == "https://huggingface.co/datasets/owner/name"
    assert HfSource(tmp_path).about.url is None


def test_the_fingerprint_of_the_hub_is_the_commits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Hub(tmp_path, monkeypatch)
    assert HfSource("a/b").fingerprint() == HfSource("a/b", revision="main").fingerprint()
    assert HfSource("a/b", revision=COMMIT).fingerprint() == HfSource("a/b").fingerprint()
    assert HfSource("a/b", revision="f" * 40).fingerprint() != HfSource("a/b").fingerprint()
