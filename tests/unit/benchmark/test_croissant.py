from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from mllmu_med.benchmark.croissant import FileFacts, croissant, write_croissant
from mllmu_med.benchmark.describing import IMAGE_COLUMNS, SAMPLE_COLUMNS
from mllmu_med.benchmark.sample import Sample
from mllmu_med.benchmark.schemas import image_schema, sample_schema
from mllmu_med.benchmark.store import Benchmark
from mllmu_med.folders import file_digest

mlcroissant = pytest.importorskip("mlcroissant")


@pytest.fixture(scope="module")
def described(built: Benchmark) -> Any:
    """The metadata of a finished benchmark, read and validated by mlcroissant."""
    return mlcroissant.Dataset(jsonld=str(built.path / "croissant.json"))


def test_mlcroissant_finds_nothing_wrong(described: Any) -> None:
    issues = described.metadata.ctx.issues
    assert not issues.errors
    # A date would make two builds differ; whoever publishes the folder adds it.
    assert [text for text in issues.warnings if "datePublished" not in str(text)] == []
    assert described.metadata.ctx.conforms_to.value == "http://mlcommons.org/croissant/1.0"


def test_it_says_whose_data_this_is_and_what_it_is_for(described: Any, built: Benchmark) -> None:
    metadata, about = described.metadata, built.manifest["source"]["about"]
    assert metadata.license == ["https://spdx.org/licenses/CC0-1.0.html"]
    assert (metadata.url, metadata.cite_as) == (about["url"], about["citation"])
    assert about["title"] in metadata.description
    assert metadata.in_language == list(built.manifest["languages"])
    assert "invented" in metadata.personal_sensitive_information[0]
    assert all(name in metadata.personal_sensitive_information[1] for name in built.manifest["phi_classes"])
    assert len(metadata.data_use_cases) >= 2
    assert any("Diagnosis" in text for text in metadata.data_limitations)


def test_every_file_is_named_with_its_hash_and_size(built: Benchmark) -> None:
    stored = json.loads((built.path / "croissant.json").read_text(encoding="utf-8"))
    objects = {part["@id"]: part for part in stored["distribution"] if part["@type"] == "cr:FileObject"}
    files = {name: sha for name, sha in built.manifest["files"].items() if name != "croissant.json"}
    assert {name: part["sha256"] for name, part in objects.items()} == files
    for name, part in objects.items():
        assert part["contentSize"] == f"{(built.path / name).stat().st_size} B"
        assert part["contentUrl"] == name


def test_every_column_is_a_field_with_its_meaning(built: Benchmark) -> None:
    stored = json.loads((built.path / "croissant.json").read_text(encoding="utf-8"))
    fields = {record_set["@id"]: record_set["field"] for record_set in stored["recordSet"]}
    assert [field["@id"] for field in fields["samples"]] == [f"samples/{name}" for name in sample_schema().names]
    assert [field["@id"] for field in fields["images"]] == [f"images/{name}" for name in image_schema().names]
    assert list(SAMPLE_COLUMNS) == list(Sample.__dataclass_fields__)
    assert list(IMAGE_COLUMNS) == image_schema().names
    assert all(field["description"] for field in [*fields["samples"], *fields["images"]])
    kinds = {part["@id"]: part["dataType"] for field in fields["samples"] for part in field.get("subField", [])}
    assert kinds["samples/spans/start"] == "sc:Integer"
    assert kinds["samples/spans/space"] == "sc:Float"
    assert kinds["samples/probes/image_id"] == "sc:Text"


def test_mlcroissant_reads_every_sample_back(described: Any, built: Benchmark) -> None:
    rows = {row["samples/id"].decode(): row for row in described.records("samples")}
    samples = built.samples()
    assert set(rows) == {sample.id for sample in samples}
    for sample in samples:
        row = rows[sample.id]
        assert row["samples/question"].decode() == sample.question
        assert row["samples/repetitions"] == sample.repetitions
        assert [text.decode() for text in row["samples/phrasings"]] == list(sample.phrasings)
        spans = [(s["samples/spans/value"].decode(), s["samples/spans/start"]) for s in row["samples/spans"]]
        assert spans == [(span.value, span.start) for span in sample.spans]
        assert [p["samples/probes/name"].decode() for p in row["samples/probes"]] == [p.name for p in sample.probes]


def test_mlcroissant_reads_every_image_back(described: Any, built: Benchmark) -> None:
    rows = {row["images/image_id"].decode(): row for row in described.records("images")}
    assert list(rows) == built.image_ids()
    for image_id, row in rows.items():
        assert row["images/image"].convert("RGB").tobytes() == built.image(image_id).tobytes()
        assert (row["images/width"], row["images/height"]) == built.image(image_id).size


def test_writing_it_again_gives_the_same_bytes(built: Benchmark, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(built.path, copy)
    before = file_digest(copy / "croissant.json")
    manifest = {name: value for name, value in built.manifest.items() if name != "files"}
    write_croissant(copy, manifest)
    assert file_digest(copy / "croissant.json") == before
    (copy / "README.md").write_text("changed")
    write_croissant(copy, manifest)
    assert file_digest(copy / "croissant.json") != before


def manifest(**about: str | None) -> dict[str, Any]:
    return {
        "package": "1",
        "seed": 0,
        "source": {"name": "my_own", "about": about},
        "plan": {"rewriter": {"name": "x"}},
    }


def test_what_a_source_does_not_say_is_left_out() -> None:
    made = croissant(manifest(title="Own records"), {"a.parquet": FileFacts("0" * 64, 3)})
    assert not {"license", "url", "citeAs", "inLanguage", "datePublished"} & set(made)
    assert made["name"] == "mllmu-med-my-own"
    assert "rewriter x" in made["rai:dataManipulationProtocol"]


@pytest.mark.parametrize(
    ("licence", "stated"),
    [
        ("CC-BY-4.0", "https://spdx.org/licenses/CC-BY-4.0.html"),
        ("apache-2.0", "https://spdx.org/licenses/Apache-2.0.html"),
        ("ODC-By-1.0", "https://spdx.org/licenses/ODC-By-1.0.html"),
        ("Ask the hospital", "Ask the hospital"),
    ],
)
def test_a_licence_is_an_address_where_it_is_known(licence: str, stated: str) -> None:
    assert croissant(manifest(licence=licence), {})["license"] == stated


def test_real_values_are_not_called_invented() -> None:
    made = croissant({**manifest(), "plan": {"private_values": "request"}}, {})
    assert "real people" in made["description"]
    assert "real people" in made["rai:personalSensitiveInformation"][0]
    assert "synthetic" not in made["keywords"]
    assert "synthetic" in croissant(manifest(), {})["keywords"]


def test_it_holds_no_private_value(built: Benchmark) -> None:
    text = (built.path / "croissant.json").read_text(encoding="utf-8")
    assert not any(span.value in text for sample in built.samples() for span in sample.spans)
