"""Croissant metadata (MLCommons, version 1.0) of a benchmark folder: ``croissant.json``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from mllmu_med.benchmark.describing import (
    IMAGE_COLUMNS,
    INTENDED_USE,
    LIMITS,
    OUT_OF_SCOPE,
    SAMPLE_COLUMNS,
    Origin,
    holds_real_values,
    whose_values,
)
from mllmu_med.benchmark.schemas import image_schema, sample_schema
from mllmu_med.folders import contents, file_digest, write_json

if TYPE_CHECKING:
    import pyarrow

FILE = "croissant.json"

_CONTEXT = {
    "@language": "en", "@vocab": "https://schema.org/", "citeAs": "cr:citeAs", "column": "cr:column",
    "conformsTo": "dct:conformsTo", "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"}, "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/", "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"}, "extract": "cr:extract", "field": "cr:field",
    "fileObject": "cr:fileObject", "fileProperty": "cr:fileProperty", "fileSet": "cr:fileSet", "format": "cr:format",
    "includes": "cr:includes", "isLiveDataset": "cr:isLiveDataset", "jsonPath": "cr:jsonPath", "key": "cr:key",
    "md5": "cr:md5", "parentField": "cr:parentField", "path": "cr:path",
    "rai": "http://mlcommons.org/croissant/RAI/", "recordSet": "cr:recordSet", "references": "cr:references",
    "regex": "cr:regex", "repeated": "cr:repeated", "replace": "cr:replace", "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/", "separator": "cr:separator", "source": "cr:source", "subField": "cr:subField",
    "transform": "cr:transform",
}  # fmt: skip
"""The context that the specification recommends to give word by word."""

_FORMATS = {".parquet": "application/x-parquet", ".json": "application/json", ".md": "text/markdown"}


class FileFacts(NamedTuple):
    """A file's SHA-256 (hex) and its size in bytes."""

    sha256: str
    size: int


def write_croissant(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Write ``croissant.json`` about the files that ``folder`` holds by now, the manifest and itself excepted."""
    files = {
        str(path.relative_to(folder)): FileFacts(file_digest(path), path.stat().st_size)
        for path in contents(folder)
        if path != folder / FILE
    }
    write_json(folder / FILE, croissant(manifest, files))


def croissant(manifest: Mapping[str, Any], files: Mapping[str, FileFacts]) -> dict[str, Any]:
    """The metadata as JSON-LD: every file with its hash, every column of samples and images, what it is (not) for.

    It holds no date, so that the same benchmark gives the same bytes; ``datePublished`` is for who publishes it.
    """
    origin = Origin.of(manifest)
    found: dict[str, Any] = {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": ["http://mlcommons.org/croissant/1.0", "http://mlcommons.org/croissant/RAI/1.0"],
        "name": f"mllmu-med-{origin.name.replace('_', '-')}",
        "description": _description(manifest, origin),
        "version": "1.0.0",
        "keywords": [
            "machine unlearning",
            "medical visual question answering",
            "privacy",
            *([] if holds_real_values(manifest) else ["synthetic"]),
        ],
        "inLanguage": sorted(manifest.get("languages", {})),
        "license": origin.licence_url or origin.licence,
        "url": origin.url,
        "citeAs": origin.citation,
        "creator": {"@type": "Organization", "name": "The MLLMU-Med developers"},
        "rai:dataUseCases": list(INTENDED_USE),
        "rai:dataLimitations": [*LIMITS, *(f"Not for: {text}" for text in OUT_OF_SCOPE)],
        "rai:personalSensitiveInformation": [whose_values(manifest), _classes(manifest)],
        "rai:dataManipulationProtocol": _protocol(manifest),
        "distribution": _distribution(files),
        "recordSet": [
            _record_set("samples", sample_schema(), SAMPLE_COLUMNS, key="id"),
            _record_set("images", image_schema(), IMAGE_COLUMNS, key="image_id"),
        ],
    }
    return {key: value for key, value in found.items() if value not in (None, [], "")}


def _description(manifest: Mapping[str, Any], origin: Origin) -> str:
    return (
        "A medical visual question answering dataset with injected private data and wrong facts, for measuring machine "
        f"unlearning. Made from {origin.title or origin.name} by MLLMU-Med {manifest['package']} with seed "
        f"{manifest['seed']}. {whose_values(manifest)} Some answers are wrong on purpose."
    )


def _classes(manifest: Mapping[str, Any]) -> str:
    names = ", ".join(manifest.get("phi_classes", {})) or "none"
    return f"Classes of private values in the records to forget: {names}."


def _protocol(manifest: Mapping[str, Any]) -> str:
    plan = manifest.get("plan", {})
    forms, errors = ", ".join(manifest.get("forms", {})), ", ".join(manifest.get("error_types", {}))
    return (
        f"Private values were told in these forms: {forms or 'none'}; wrong facts are of these kinds: "
        f"{errors or 'none'}; texts by the rewriter {_name(plan.get('rewriter', 'template'))}. The ledger names every "
        "injected fact with its records."
    )


def _name(rewriter: object) -> str:
    return str(rewriter["name"]) if isinstance(rewriter, Mapping) else str(rewriter)


def _distribution(files: Mapping[str, FileFacts]) -> list[dict[str, Any]]:
    objects = [
        {
            "@type": "cr:FileObject", "@id": name, "name": name, "contentUrl": name, "contentSize": f"{facts.size} B",
            "encodingFormat": _FORMATS.get(Path(name).suffix, "application/octet-stream"), "sha256": facts.sha256,
        }
        for name, facts in sorted(files.items())
    ]  # fmt: skip
    sets = [
        {
            "@type": "cr:FileSet", "@id": f"{name}-files", "name": f"{name}-files", "includes": f"{name}/*.parquet",
            "encodingFormat": _FORMATS[".parquet"],
        }
        for name in ("samples", "images")
    ]  # fmt: skip
    return [*objects, *sets]


def _record_set(name: str, schema: pyarrow.Schema, notes: Mapping[str, str], *, key: str) -> dict[str, Any]:
    return {
        "@type": "cr:RecordSet", "@id": name, "name": name, "key": {"@id": f"{name}/{key}"},
        "field": [_field(name, column, notes[column.name]) for column in schema],
    }  # fmt: skip


def _field(record_set: str, column: pyarrow.Field, note: str) -> dict[str, Any]:
    """A column: a value, a list of values, or a list of structures as a repeated field with subfields."""
    import pyarrow as pa

    path = f"{record_set}/{column.name}"
    field: dict[str, Any] = {"@type": "cr:Field", "@id": path, "name": path, "description": note}
    source = {"fileSet": {"@id": f"{record_set}-files"}, "extract": {"column": column.name}}
    kind = column.type
    if pa.types.is_list(kind):
        field["repeated"] = True
        kind = kind.value_type
    if column.name == "image":
        return {**field, "dataType": "sc:ImageObject",
                "source": {**source, "transform": {"jsonPath": "bytes"}}}  # fmt: skip
    if not pa.types.is_struct(kind):
        return {**field, "dataType": _data_type(kind), "source": source}
    field["subField"] = [
        {
            "@type": "cr:Field", "@id": f"{path}/{part.name}", "name": f"{path}/{part.name}",
            "dataType": _data_type(part.type), "source": {**source, "transform": {"jsonPath": part.name}},
        }
        for part in kind
    ]  # fmt: skip
    return field


def _data_type(kind: pyarrow.DataType) -> str:
    import pyarrow as pa

    if pa.types.is_integer(kind):
        return "sc:Integer"
    return "sc:Float" if pa.types.is_floating(kind) else "sc:Text"
