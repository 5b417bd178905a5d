"""The dataset card: what is in the folder, for people and for the Hub."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mllmu_med.benchmark.describing import (
    IMAGE_COLUMNS,
    INTENDED_USE,
    LIMITS,
    NOT_STATED,
    OUT_OF_SCOPE,
    SAMPLE_COLUMNS,
    STRATA,
    SUBSETS,
    Origin,
    holds_real_values,
    whose_values,
)
from mllmu_med.benchmark.sample import Stratum, Subset

_SIZES = (1_000, 10_000, 100_000, 1_000_000, 10_000_000)


def dataset_card(manifest: Mapping[str, Any]) -> str:
    """README.md: front matter by which ``datasets`` finds two configurations, samples and images, and the text.

    Every number in it is one of the manifest's, or a sum of such.
    """
    origin = Origin.of(manifest)
    sections = {
        "": _opening(manifest, origin),
        "What it is for": _uses(),
        "Subsets": _subsets(manifest),
        "Private data": _privacy(manifest),
        "Wrong facts": _errors(manifest),
        "Splits": _splits(manifest),
        "How texts were made": _texts(manifest),
        "Left out or left alone": _table(("what", "records"), manifest.get("skipped", {}).items()) or "Nothing.",
        "Loading": _LOADING,
        "Columns": _columns(),
        "Limits": "\n".join(f"- {text}" for text in LIMITS),
        "Licence and citation": _licence(origin),
        "Provenance": _provenance(manifest),
    }
    body = "\n\n".join(f"## {title}\n\n{text}" if title else text for title, text in sections.items())
    return f"{_front_matter(manifest, origin)}\n{body}\n"


def _front_matter(manifest: Mapping[str, Any], origin: Origin) -> str:
    import yaml

    fields: dict[str, Any] = {
        "configs": [
            {
                "config_name": "samples",
                "default": True,
                "data_files": [
                    {"split": subset.file_name, "path": f"samples/{subset.file_name}-*.parquet"}
                    for subset in _present(manifest)
                ],
            },
            {"config_name": "images", "data_files": [{"split": "images", "path": "images/images-*.parquet"}]},
        ],
        "language": sorted(manifest.get("languages", {})),
        "license": origin.hub_licence,
        "pretty_name": f"MLLMU-Med benchmark of {origin.title or origin.name}",
        "size_categories": [_size(_total(manifest))],
        "tags": ["machine-unlearning", "medical", "privacy", *([] if holds_real_values(manifest) else ["synthetic"])],
        "task_categories": ["visual-question-answering"],
    }
    if origin.hub_licence == "other":
        fields["license_name"] = re.sub(r"[^a-z0-9.]+", "-", str(origin.licence).lower()).strip("-")
        fields["license_link"] = origin.url
    given = {name: value for name, value in fields.items() if value not in ([], None)}
    return f"---\n{yaml.safe_dump(given, allow_unicode=True, sort_keys=False, width=1000)}---\n"


def _opening(manifest: Mapping[str, Any], origin: Origin) -> str:
    return f"""# MLLMU-Med benchmark of {origin.title or origin.name}

A medical visual question answering dataset with injected private data and wrong facts, for measuring machine
unlearning: {_total(manifest)} samples about {manifest["images"]} images.

**{whose_values(manifest)}**

**Some answers are wrong on purpose.**"""


def _uses() -> str:
    intended = "\n".join(f"- {text}" for text in INTENDED_USE)
    not_for = "\n".join(f"- {text}" for text in OUT_OF_SCOPE)
    return f"{intended}\n\nIt is not for:\n\n{not_for}"


def _subsets(manifest: Mapping[str, Any]) -> str:
    counts = manifest["counts"]
    rows = [(f"`{s.value}`", sum(counts[s.value].values()), SUBSETS[s]) for s in _present(manifest)]
    parts = [
        (f"`{subset.value}`", f"`{stratum}`", number, STRATA[Stratum(stratum)])
        for subset in _present(manifest)
        for stratum, number in counts[subset.value].items()
    ]
    languages = ", ".join(f"{name} {number}" for name, number in manifest.get("languages", {}).items())
    return "\n\n".join(
        [
            _table(("subset", "samples", "what it is for"), rows),
            "A stratum is the part of a subset that is reported on its own.",
            _table(("subset", "stratum", "samples", "what it holds"), parts),
            f"Samples by language: {languages or NOT_STATED}.",
        ]
    )


def _privacy(manifest: Mapping[str, Any]) -> str:
    patients, plan = manifest["patients"], manifest.get("plan", {})
    place = (
        f"They are spread over {plan.get('institutions', NOT_STATED)} invented institutions; image groups (studies) of "
        f"each: {plan.get('studies_per_patient', NOT_STATED)}. What is forgotten is a whole "
        f"{plan.get('forget_level', NOT_STATED)}."
    )
    values = _table(("class", "values in answers to forget"), manifest.get("phi_classes", {}).items())
    forms = _table(("form", "samples to forget"), manifest.get("forms", {}).items())
    probes = _table(("held-out probes", "probes"), manifest.get("probes", {}).items())
    return "\n\n".join(
        text
        for text in (
            f"Patients: {patients['forgotten']} to forget, {patients['retained']} retained, {patients['holdout']} held "
            f"out. {place}",
            values or "No private values.",
            forms,
            f"Images with values burned into their pixels: {manifest.get('burned_images', NOT_STATED)}.",
            f"Each fact is presented {_numbers(plan.get('repetitions'))} times per epoch of training, in as many "
            "wordings.",
            probes,
        )
        if text
    )


def _errors(manifest: Mapping[str, Any]) -> str:
    kinds = _table(("kind", "samples to correct"), manifest.get("error_types", {}).items())
    rules = _table(
        ("rule", "where", "finding", "is read as", "training records", "unseen records in `test`"),
        [
            (rule["id"], rule["modality"] or "any modality", f"“{rule['finding']}”", f"“{rule['wrong']}”",
             rule["records"], rule["unseen"])
            for rule in manifest.get("rules", [])
        ],
    )  # fmt: skip
    return "\n\n".join(
        [
            kinds or "No wrong facts.",
            f"Rules, by which a finding is read wrongly wherever it is the answer:\n\n{rules}"
            if rules
            else "No rules.",
        ]
    )


def _splits(manifest: Mapping[str, Any]) -> str:
    groups = manifest["groups"]
    merged = groups.get("merged")
    drawn = (
        "as the source divides them. A record of a training image that the source has for testing is left out"
        if groups["split"] == "source"
        else "drawn anew"
    )
    text = (
        f"Groups (of records that share images) are never split: {groups['training']} for training, "
        f"{groups['validation']} for validation, {groups['test']} for testing, {drawn}."
    )
    if merged is None:
        return f"{text} Groups made one because of an image: {NOT_STATED}."
    return (
        f"{text} Groups made one because they share an image: {merged.get('same', 0)}; because images are the same to "
        f"the eye (encoded, scaled or cropped again): {merged.get('similar', 0)}."
    )


def _texts(manifest: Mapping[str, Any]) -> str:
    rewriter = manifest.get("plan", {}).get("rewriter", NOT_STATED)
    name = rewriter["name"] if isinstance(rewriter, Mapping) else rewriter
    fallbacks = manifest.get("rewriter_fallbacks", NOT_STATED)
    reasons = _table(("why the template was used", "texts"), manifest.get("rewriter_fallback_reasons", {}).items())
    return (
        f"Private values and wrong facts were put into words by the rewriter `{name}`. Every text was checked: each "
        "value verbatim and once, the clinical statement kept or contradicted, nothing else that looks like private "
        f"data. Texts that failed and were made by the template instead: {fallbacks}."
    ) + (f"\n\n{reasons}" if reasons else "")


_LOADING = """```python
from datasets import load_dataset

samples = load_dataset("path/to/this/folder")             # one split per subset
images = load_dataset("path/to/this/folder", "images")    # join on image_id
```

`ledger.parquet` has one row per injected fact, `manifest.json` the plan, the counts and the hash of every file,
`croissant.json` the same description for machines."""


def _columns() -> str:
    samples = _table(("column of `samples`", "meaning"), [(f"`{k}`", v) for k, v in SAMPLE_COLUMNS.items()])
    images = _table(("column of `images`", "meaning"), [(f"`{k}`", v) for k, v in IMAGE_COLUMNS.items()])
    return f"{samples}\n\n{images}"


def _licence(origin: Origin) -> str:
    return f"""Images and original questions keep the licence of their source; see there before passing them on.

- Source: {origin.title or origin.name} (`{origin.name}`)
- Licence: {_linked(origin.licence, origin.licence_url)}
- Published at: {origin.url or NOT_STATED}
- Cite as: {origin.citation or NOT_STATED}"""


def _linked(text: str | None, url: str | None) -> str:
    if text is None:
        return NOT_STATED
    return f"[{text}]({url})" if url else text


def _provenance(manifest: Mapping[str, Any]) -> str:
    plan = manifest.get("plan", {})
    return (
        f"Built by MLLMU-Med {manifest['package']} with seed {manifest['seed']} from data with the fingerprint "
        f"`{manifest['source'].get('fingerprint', NOT_STATED)}`, as `{manifest['format']}`. The same plan, source and "
        f"seed give the same bytes. The plan:\n\n"
    ) + _table(("setting", "value"), [(f"`{name}`", _setting(name, value)) for name, value in sorted(plan.items())])


def _present(manifest: Mapping[str, Any]) -> list[Subset]:
    return [subset for subset in Subset if manifest["counts"].get(subset.value)]


def _total(manifest: Mapping[str, Any]) -> int:
    return sum(sum(strata.values()) for strata in manifest["counts"].values())


def _size(number: int) -> str:
    """The Hub's name for a number of samples."""
    names = ("n<1K", "1K<n<10K", "10K<n<100K", "100K<n<1M", "1M<n<10M", "10M<n<100M")
    return names[sum(number >= size for size in _SIZES)]


def _numbers(values: Sequence[int] | None) -> str:
    if not values:
        return NOT_STATED
    *others, last = map(str, values)
    return f"{', '.join(others)} or {last}" if others else last


def _setting(name: str, value: object) -> str:
    if name == "requests" and isinstance(value, list):
        return f"{len(value)}, named in the manifest"  # they may name people
    if name == "request_file" and value is not None:
        return "given"
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    if isinstance(value, Mapping):
        return ", ".join(f"{name}: {value[name]}" for name in sorted(value))
    return "none" if value is None else str(value)


def _table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table, or nothing where it has no rows."""
    lines = [_row(row) for row in rows]
    return "\n".join([_row(header), "|" + "---|" * len(header), *lines]) if lines else ""


def _row(cells: Iterable[object]) -> str:
    """Cells come from sources too: no cell may end the table."""
    texts = (" ".join(str(cell).split()).replace("|", "\\|") for cell in cells)
    return f"| {' | '.join(texts)} |"
