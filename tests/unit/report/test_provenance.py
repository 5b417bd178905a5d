from typing import Any

import yaml

from mllmu_med.report.provenance import key_numbers, provenance, recipe_text


def test_key_numbers(results: dict[str, Any]) -> None:
    assert key_numbers(results) == [
        ("12", "patients to forget"),
        ("36", "patients to keep"),
        ("80", "wrong answers to undo"),
        ("400", "images"),
        ("5:20 min", "of computing, all stages"),
        ("1.3 GB", "peak memory"),
    ]
    assert key_numbers({}) == []


def test_everything_recorded_is_shown(results: dict[str, Any]) -> None:
    results["provenance"]["git_commit"] = "abc"
    blocks = {heading: dict(pairs) for heading, pairs in provenance(results)}
    assert blocks["Data"]["source fingerprint"] == "abababababababab…"
    assert blocks["Data"]["most frequent answer"] == "32.0%"
    assert blocks["Samples"]["forget/privacy private image"] == "48"
    assert blocks["Software"]["PyTorch"] == "2.13.0"
    assert blocks["Software"]["packed rows"] == "yes"
    assert blocks["Machine"] == {"platform": "Linux", "device": "cpu", "threads": "2", "git commit": "abc"}
    assert blocks["Time and memory"]["oracle"] == "61 s"
    assert blocks["Time and memory"]["together"] == "5:20 min"


def test_samples_and_stages_keep_their_order_whatever_a_file_does(results: dict[str, Any]) -> None:
    results["provenance"]["seconds"] = {"base": 1, "benchmark": 2, "evaluate npo": 3, "npo": 4, "theta0": 5}
    results["benchmark"]["counts"] = dict(sorted(results["benchmark"]["counts"].items()))
    blocks = dict(provenance(results))
    assert [name for name, _ in blocks["Time and memory"]][:5] == ["benchmark", "base", "theta0", "npo", "evaluate npo"]
    assert blocks["Samples"][0][0] == "forget/privacy private image"


def test_nothing_recorded_is_a_dash_and_never_none() -> None:
    text = str(provenance({"provenance": {"torch": None, "seconds": {"base": float("nan")}}}))
    assert "None" not in text
    assert "nan" not in text


def test_the_recipe_can_be_read_back(results: dict[str, Any]) -> None:
    assert yaml.safe_load(recipe_text(results)) == results["recipe"]
