from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

from mllmu_med.benchmark.builder import build_benchmark
from mllmu_med.benchmark.card import dataset_card
from mllmu_med.benchmark.describing import Origin
from mllmu_med.benchmark.plan import BenchmarkPlan
from mllmu_med.benchmark.sample import Sample, Subset
from mllmu_med.benchmark.schemas import image_schema
from mllmu_med.benchmark.store import Benchmark
from tests.unit.benchmark.fake_source import FakeSource


@pytest.fixture(scope="module")
def rich(tmp_path_factory: pytest.TempPathFactory) -> Benchmark:
    """A benchmark whose manifest has something to say of everything; read only."""
    plan = BenchmarkPlan(
        patients_forgotten=4, patients_retained=5, patients_holdout=3, wrong_rules=1, wrong_image_facts=8,
        wrong_text_facts=5, rule_share=0.2, repetitions=(1, 2, 4, 8), institutions=2, rewriter={"name": "template"},
    )  # fmt: skip
    return build_benchmark(FakeSource(), plan, tmp_path_factory.mktemp("rich") / "benchmark", seed=77)


def card(benchmark: Benchmark) -> tuple[dict[str, Any], str]:
    """The front matter and the text."""
    _, front, body = (benchmark.path / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    return yaml.safe_load(front), body


def rows(body: str) -> list[list[str]]:
    """The cells of every table row."""
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in body.splitlines() if line[:1] == "|"]


def test_the_front_matter_is_what_the_hub_expects(rich: Benchmark) -> None:
    front, _ = card(rich)
    assert front["license"] == "cc0-1.0"
    assert front["language"] == ["en"]
    assert front["size_categories"] == ["n<1K"]
    assert front["task_categories"] == ["visual-question-answering"]
    configs = {config["config_name"]: config for config in front["configs"]}
    assert configs["samples"]["default"] is True
    named = {file["split"]: file["path"] for file in configs["samples"]["data_files"]}
    assert set(named) == {"forget_privacy", "forget_incorrectness", "retain", "test", "holdout"}
    for pattern in (*named.values(), configs["images"]["data_files"][0]["path"]):
        assert list(rich.path.glob(pattern)), pattern


def test_datasets_opens_the_folder(rich: Benchmark, tmp_path: Path) -> None:
    from datasets import load_dataset

    samples = load_dataset(str(rich.path), cache_dir=str(tmp_path))
    counts = {subset.replace("/", "_"): sum(strata.values()) for subset, strata in rich.manifest["counts"].items()}
    assert {name: split.num_rows for name, split in samples.items()} == counts
    first = samples["forget_privacy"][0]
    assert first["answer"][first["spans"][0]["start"] : first["spans"][0]["end"]] == first["spans"][0]["value"]
    images = load_dataset(str(rich.path), "images", cache_dir=str(tmp_path))["images"]
    assert images.num_rows == rich.manifest["images"]
    assert images[0]["image"].size == (images[0]["width"], images[0]["height"])


def test_counts_are_those_of_the_manifest(rich: Benchmark) -> None:
    _, body = card(rich)
    found, manifest = rows(body), rich.manifest
    total = sum(sum(strata.values()) for strata in manifest["counts"].values())
    assert f"{total} samples about {manifest['images']} images" in " ".join(body.split())
    for subset, strata in manifest["counts"].items():
        assert any(row[:2] == [f"`{subset}`", str(sum(strata.values()))] for row in found)
        for stratum, number in strata.items():
            assert any(row[:3] == [f"`{subset}`", f"`{stratum}`", str(number)] for row in found)
    for table in ("phi_classes", "forms", "error_types", "probes", "skipped"):
        assert manifest[table], table
        for name, number in manifest[table].items():
            assert [name, str(number)] in found, (table, name)
    assert ", ".join(f"{name} {number}" for name, number in manifest["languages"].items()) in body
    patients = manifest["patients"]
    assert f"{patients['forgotten']} to forget, {patients['retained']} retained, {patients['holdout']} held out" in body
    rule = manifest["rules"][0]
    assert [
        rule["id"], rule["modality"], f"“{rule['finding']}”", f"“{rule['wrong']}”", str(rule["records"]),
        str(rule["unseen"]),
    ] in found  # fmt: skip


def test_how_it_was_made_is_told(rich: Benchmark) -> None:
    _, body = card(rich)
    text, groups = " ".join(body.split()), rich.manifest["groups"]
    for words in (
        f"{groups['training']} for training, {groups['validation']} for validation, {groups['test']} for testing, as "
        "the source divides them",
        f"because they share an image: {groups['merged']['same']}; because images are the same to the eye (encoded, "
        f"scaled or cropped again): {groups['merged']['similar']}.",
        "spread over 2 invented institutions; image groups (studies) of each: 1. What is forgotten is a whole patient",
        "presented 1, 2, 4 or 8 times per epoch",
        "by the rewriter `template`",
        f"made by the template instead: {rich.manifest['rewriter_fallbacks']}.",
        f"burned into their pixels: {rich.manifest['burned_images']}.",
        f"MLLMU-Med {rich.manifest['package']} with seed 77",
        rich.manifest["source"]["fingerprint"],
    ):
        assert words in text, words
    found = rows(body.partition("## Provenance")[2])
    for name, value in rich.manifest["plan"].items():
        row = next(row for row in found if row[0] == f"`{name}`")
        if isinstance(value, list) and value and name != "requests":
            assert row[1] == ", ".join(map(str, value))
        elif isinstance(value, int | float):
            assert row[1] == str(value)


def test_every_number_is_one_of_the_manifest(rich: Benchmark) -> None:
    """No number in the tables and the text is made up, nor left over from an earlier manifest."""
    known: set[str] = set()

    def collect(value: object) -> None:
        if isinstance(value, dict):
            for part in value.values():
                collect(part)
            for part in value:
                collect(part)
        elif isinstance(value, list):
            for part in value:
                collect(part)
        elif isinstance(value, str):
            known.update(re.findall(r"\d+(?:\.\d+)*", value))
        else:
            known.add(str(value))

    collect({name: value for name, value in rich.manifest.items() if name != "files"})
    for strata in rich.manifest["counts"].values():
        known.add(str(sum(strata.values())))
    known.add(str(sum(sum(strata.values()) for strata in rich.manifest["counts"].values())))
    _, body = card(rich)
    body = body.partition("## Columns")[0] + body.partition("## Limits")[2]
    found = set(re.findall(r"(?<![\w./-])\d+(?:\.\d+)*(?![\w-])", body))
    assert found - known == set()


def test_where_it_comes_from_is_told(rich: Benchmark) -> None:
    _, body = card(rich)
    about = rich.manifest["source"]["about"]
    assert f"- Source: {about['title']} (`fake`)" in body
    assert "- Licence: [CC0-1.0](https://spdx.org/licenses/CC0-1.0.html)" in body
    assert f"- Published at: {about['url']}" in body
    assert f"- Cite as: {about['citation']}" in body


def test_columns_uses_and_limits_are_told(rich: Benchmark) -> None:
    _, body = card(rich)
    found = rows(body)
    for name in (*Sample.__dataclass_fields__, *image_schema().names):
        assert any(row[0] == f"`{name}`" and row[1] for row in found), name
    for words in ("It is not for:", "Diagnosis", "invented", "wrong on purpose", "## Limits", "load_dataset("):
        assert words in body


def test_the_card_holds_no_private_value(rich: Benchmark) -> None:
    text = (rich.path / "README.md").read_text(encoding="utf-8")
    assert not any(span.value in text for sample in rich.samples() for span in sample.spans)


def small(**changes: Any) -> dict[str, Any]:
    """The least that a manifest says."""
    return {
        "package": "0.1", "seed": 1, "format": "f/1", "images": 3, "counts": {"test": {"general": 2}},
        "patients": {"forgotten": 0, "retained": 0, "holdout": 0}, "source": {"name": "own"},
        "groups": {"training": 1, "validation": 0, "test": 1, "split": "own"}, **changes,
    }  # fmt: skip


def test_what_is_not_stated_is_said_to_be_so() -> None:
    text = dataset_card(small())
    front = yaml.safe_load(text.split("---\n")[1])
    assert front["license"] == "unknown"
    assert "language" not in front
    assert [config["config_name"] for config in front["configs"]] == ["samples", "images"]
    for words in ("- Licence: not stated", "- Cite as: not stated", "language: not stated", "No private values.",
                  "No wrong facts.", "No rules.", "drawn anew", "Nothing."):  # fmt: skip
        assert words in text, words


def test_hostile_texts_stay_in_their_place() -> None:
    about = {"title": 'A: "b" --- #c\n| d', "licence": "Ask | us", "url": "https://example.org/?a=1&b", "citation": "x"}
    rule = {"id": "rule-1", "modality": None, "finding": "a | b\nc", "wrong": "| d |", "records": 1, "unseen": 0}
    text = dataset_card(small(
        source={"name": "own", "about": about}, rules=[rule], skipped={"why | not\nat all": 3},
    ))  # fmt: skip
    front = yaml.safe_load(text.split("---\n")[1])
    assert front["license"] == "other"
    assert front["license_name"] == "ask-us"
    assert front["license_link"] == about["url"]
    assert front["pretty_name"].endswith(about["title"])
    assert "| rule-1 | any modality | “a \\| b c” | “\\| d \\|” | 1 | 0 |" in text
    assert "| why \\| not at all | 3 |" in text


def test_merged_groups_are_told_by_reason() -> None:
    groups = {"training": 1, "validation": 0, "test": 1, "split": "own", "merged": {"same": 41, "similar": 17}}
    text = dataset_card(small(groups=groups))
    assert "share an image: 41; because images are the same to the eye (encoded, scaled or cropped again): 17." in text


def test_real_values_are_not_called_invented() -> None:
    plan = {"private_values": "request", "request_file": "/home/alder/requests.json"}
    text = dataset_card(small(plan=plan))
    assert "are those of real people" in text
    assert "must not be passed on" in text
    assert "Every patient is invented" not in text
    assert "synthetic" not in yaml.safe_load(text.split("---\n")[1])["tags"]
    assert "| `request_file` | given |" in text
    assert "alder" not in text
    assert "| `request_file` | none |" in dataset_card(small(plan={"request_file": None}))


def test_why_the_template_was_used_is_told() -> None:
    text = dataset_card(small(rewriter_fallbacks=7, rewriter_fallback_reasons={"too long": 4, "a date": 3}))
    assert "made by the template instead: 7." in text
    assert "| too long | 4 |\n| a date | 3 |" in text


def test_requests_may_name_people_and_are_only_counted() -> None:
    text = dataset_card(small(plan={"requests": ["patient=Maria Lopez", "patient=P17"]}))
    assert "| `requests` | 2, named in the manifest |" in text
    assert "Lopez" not in text


@pytest.mark.parametrize(
    ("samples", "name"),
    [(999, "n<1K"), (1000, "1K<n<10K"), (99_999, "10K<n<100K"), (10**6, "1M<n<10M"), (10**7, "10M<n<100M")],
)
def test_the_size_is_named_as_on_the_hub(samples: int, name: str) -> None:
    front = yaml.safe_load(dataset_card(small(counts={"test": {"general": samples}})).split("---\n")[1])
    assert front["size_categories"] == [name]


@pytest.mark.parametrize(
    ("licence", "hub", "url"),
    [
        ("CC-BY-NC-SA-4.0", "cc-by-nc-sa-4.0", "https://spdx.org/licenses/CC-BY-NC-SA-4.0.html"),
        ("Apache-2.0", "apache-2.0", "https://spdx.org/licenses/Apache-2.0.html"),
        ("MIT", "mit", "https://spdx.org/licenses/MIT.html"),
        ("BSD-3-Clause", "bsd-3-clause", "https://spdx.org/licenses/BSD-3-Clause.html"),
        ("ODbL-1.0", "odbl", "https://spdx.org/licenses/ODbL-1.0.html"),
        ("CDLA-Permissive-2.0", "cdla-permissive-2.0", "https://spdx.org/licenses/CDLA-Permissive-2.0.html"),
        ("Unlicense", "unlicense", "https://spdx.org/licenses/Unlicense.html"),
        ("cc", "cc", None),
        ("Research only", "other", None),
        (None, "unknown", None),
        ("", "unknown", None),
    ],
)
def test_licences_are_named_as_on_the_hub(licence: str | None, hub: str, url: str | None) -> None:
    origin = Origin.of(small(source={"name": "own", "about": {"licence": licence}}))
    assert (origin.hub_licence, origin.licence_url) == (hub, url)


def test_the_counts_of_the_card_are_the_samples_own(rich: Benchmark) -> None:
    # The manifest is where the card's numbers come from; here is where the manifest's come from.
    samples = rich.samples(Subset.FORGET_PRIVACY)
    assert rich.manifest["phi_classes"] == dict(Counter(span.phi_class for s in samples for span in s.spans))
