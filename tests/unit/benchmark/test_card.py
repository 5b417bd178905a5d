from __future__ import annotations

import yaml

from mllmu_med.benchmark.store import Benchmark


def test_the_card_says_what_is_in_the_folder(built: Benchmark) -> None:
    text = (built.path / "README.md").read_text(encoding="utf-8")
    _, front, body = text.split("---\n", 2)
    configs = {config["config_name"]: config for config in yaml.safe_load(front)["configs"]}
    assert configs["samples"]["default"] is True
    named = {file["split"]: file["path"] for file in configs["samples"]["data_files"]}
    assert set(named) == {"forget_privacy", "forget_incorrectness", "retain", "test", "holdout"}
    for pattern in (*named.values(), configs["images"]["data_files"][0]["path"]):
        assert list(built.path.glob(pattern)), pattern
    for subset, strata in built.manifest["counts"].items():
        assert f"| `{subset}` | {sum(strata.values())} |" in body
    rule = built.manifest["rules"][0]
    assert f"“{rule['finding']}” is read as “{rule['wrong']}” ({rule['records']} training records" in body
    assert "- empty answer: 1" in body
    assert "4 to forget, 5 retained, 3 held out" in body


def test_the_card_holds_no_private_value(built: Benchmark) -> None:
    text = (built.path / "README.md").read_text(encoding="utf-8")
    assert not any(span.value in text for sample in built.samples() for span in sample.spans)
