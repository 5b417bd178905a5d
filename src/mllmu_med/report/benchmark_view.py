"""What the benchmark's page holds, as plain JSON: samples with marked texts, their pictures, and the ledger."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mllmu_med.benchmark.sample import Probe, Sample, Subset
from mllmu_med.report.benchmark_census import BenchmarkFolder, Census
from mllmu_med.report.benchmark_filters import classes_of
from mllmu_med.report.benchmark_pictures import CROP, OWN, VARIANTS, Album
from mllmu_med.report.benchmark_texts import Text, Texts
from mllmu_med.report.browser import STRATUM_LABELS, SUBSET_LABELS

FORM_LABELS = {
    "leak": "woven into an answer",
    "direct": "asked directly",
    "text": "asked by name",
    "burned": "read off the image",
}
PROBE_NOTES = {
    "own": "",
    "none": "no image",
    "blank": "an empty image",
    "mismatched": "an image of some other sample",
    "other": "another image",
    **{name: f"own image, changed at strength {strength}" for name, strength in VARIANTS.items()},
}
_NAME = 120
"""Characters of an id, a name or another short text."""
_MOST = {"phrasings": 16, "probes": 60, "accepted": 8, "nodes": 12, "regions": 60, "facts": 60, "samples": 12}
"""So many of each are shown; what is more is counted."""
_MOST_VARIED = 24
"""Images whose variants are drawn: it takes longer than shrinking them."""

_RAISED = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")

Line = tuple[str, str, Text]


def _answers(sample: Sample, texts: Texts) -> list[Line]:
    """Label, tone (bad, good, plain) and text of what is trained and what is true."""
    trained = texts.pieces(sample.answer, sample)
    right = sample.correct_answer or sample.clean_answer
    lines: list[Line] = []
    if sample.wrong_answer is not None:
        if sample.subset is not Subset.FORGET_INCORRECTNESS:
            lines.append(("wrong by the rule", "bad", texts.pieces(sample.wrong_answer, sample)))
        else:
            lines.append(("trained, wrong", "bad", trained))
            if sample.answer != sample.wrong_answer:
                lines.append(("the wrong fact", "bad", texts.pieces(sample.wrong_answer, sample)))
        right = right if right is not None else sample.answer
    elif sample.subset is Subset.FORGET_PRIVACY:
        lines.append(("trained, to forget", "bad", trained))
    elif sample.subset is Subset.HOLDOUT:
        lines.append(("never trained on", "plain", trained))
    else:
        lines.append(("trained, to keep" if sample.spans else "right answer", "good", trained))
    if right is not None and (sample.wrong_answer is not None or right != sample.answer):
        label = "right answer" if sample.wrong_answer is not None else "clean answer"
        lines.append((label, "good", texts.pieces(right, sample)))
    if sample.accepted:
        lines.append(("also right", "good", texts.pieces("; ".join(sample.accepted[: _MOST["accepted"]]), sample)))
    return lines


def _chips(sample: Sample, texts: Texts) -> list[list[str]]:
    """What the sample injects; where a filter selects its like, with the filter's name and value."""

    def say(text: str) -> str:
        return texts.plain(text, sample, _NAME)

    chips = [[say(name), "class", say(name)] for name in classes_of(sample)]
    if sample.form:
        chips.append([FORM_LABELS.get(sample.form, say(sample.form)), "form", say(sample.form)])
    if sample.error_type:
        chips.append([say(sample.error_type), "error-type", say(sample.error_type)])
    if sample.severity:
        chips.append([f"severity {say(sample.severity)}"])
    if sample.rule_id:
        chips.append([say(sample.rule_id), "rule", say(sample.rule_id)])
    elif sample.subset is Subset.FORGET_INCORRECTNESS:
        chips.append(["single fact"])
    if sample.patient_id:
        chips.append([say(sample.patient_id), "patient", say(sample.patient_id)])
    return chips


def _facts(sample: Sample, texts: Texts) -> list[str]:
    asked = None if sample.content_type in classes_of(sample) else sample.content_type
    named = (sample.modality, sample.body_part, asked, sample.answer_type, sample.language)
    facts = [texts.plain(text, sample, _NAME) for text in dict.fromkeys(named) if text]
    return [*facts, f"{sample.repetitions} × per epoch"] if sample.repetitions > 1 else facts


def _candidates(space: float) -> str:
    """How many values there could have been: ``9,000``, ``9 × 10⁶``."""
    if not 1e6 <= space < math.inf:
        return f"{space:,.0f}"
    digits, _, power = f"{space:.0e}".partition("e+")
    return f"{digits} × 10{str(int(power)).translate(_RAISED)}"


def _ask_for_pictures(samples: Sequence[Sample], album: Album) -> None:
    varied: dict[str, list[str]] = {}
    for sample in samples:
        if sample.image_id is not None:
            album.ask(sample.image_id)
    for sample in samples:
        for probe in sample.probes[: _MOST["probes"]]:
            if probe.image == "other" and probe.image_id is not None:
                album.ask(probe.image_id, small=True)
            elif sample.image_id is not None and probe.image in VARIANTS:
                varied.setdefault(sample.image_id, []).append(probe.image)
    for image_id, kinds in list(varied.items())[:_MOST_VARIED]:
        for kind in kinds:
            album.ask(image_id, kind, small=True)


def _probe(probe: Probe, sample: Sample, texts: Texts, album: Album) -> dict[str, Any]:
    picture = None
    if probe.image == "other":
        picture = album.place(probe.image_id)
    elif probe.image in VARIANTS:
        picture = album.place(sample.image_id, probe.image)
    return {
        "name": texts.plain(probe.name, sample, _NAME),
        "question": texts.pieces(probe.question, sample),
        "note": PROBE_NOTES.get(probe.image, texts.plain(probe.image, sample, _NAME)),
        "blank": probe.image == "blank",
        "image": picture,
        "answer": None if probe.answer is None else texts.pieces(probe.answer, sample),
        "language": None if probe.language is None else texts.plain(probe.language, sample, _NAME),
    }


def _entry(sample: Sample, texts: Texts, album: Album) -> dict[str, Any]:
    def say(text: str | None) -> str | None:
        return None if text is None else texts.plain(text, sample, _NAME)

    held = [text for text in (sample.modality, sample.body_part) if text]
    entry: dict[str, Any] = {
        "id": say(sample.id),
        "subset": sample.subset.value,
        "stratum": sample.stratum.value,
        "form": say(sample.form),
        "error": say(sample.error_type),
        "patient": say(sample.patient_id),
        "rule": say(sample.rule_id),
        "classes": [say(name) for name in classes_of(sample)],
        "nodes": [[say(node.level), say(node.name)] for node in sample.hierarchy[: _MOST["nodes"]]],
        "chips": _chips(sample, texts),
        "facts": _facts(sample, texts),
        "question": texts.pieces(sample.question, sample),
        "answers": _answers(sample, texts),
        "phrasings": [texts.pieces(text, sample) for text in sample.phrasings[: _MOST["phrasings"]]],
        "probes": [_probe(probe, sample, texts, album) for probe in sample.probes[: _MOST["probes"]]],
        "more": [max(0, len(sample.phrasings) - _MOST["phrasings"]), max(0, len(sample.probes) - _MOST["probes"])],
    }
    if sample.image_id is not None:
        entry |= {
            "image": album.place(sample.image_id, OWN),
            "crop": album.place(sample.image_id, CROP) if sample.regions else None,
            "alt": f"The image asked about{': ' + str(say(', '.join(held))) if held else ''}",
            "regions": [
                [say(region.phi_class), region.x0, region.y0, region.x1, region.y1]
                for region in sample.regions[: _MOST["regions"]]
            ],
        }
    return entry


def _fact(row: Mapping[str, Any], texts: Texts, shown: Mapping[str, str]) -> dict[str, Any]:
    """A row of the ledger; samples that the page shows can be followed."""

    def say(text: object) -> str | None:
        return None if text is None else texts.plain(str(text), None, _NAME)

    values = zip(row.get("phi_classes") or (), row.get("values") or (), row.get("spaces") or (), strict=False)
    ids = [str(sample_id) for sample_id in row.get("sample_ids") or ()]
    return {
        "fact": say(row.get("fact_id")),
        "role": say(row.get("role")),
        "values": [[say(value), say(name), _candidates(space)] for name, value, space in values],
        "wrong": say(row.get("wrong_answer")),
        "right": say(row.get("correct_answer")),
        "severity": say(row.get("severity")),
        "forms": [FORM_LABELS.get(form, say(form)) for form in row.get("forms") or ()],
        "samples": [[shown.get(name, say(name)), name in shown] for name in ids[: _MOST["samples"]]],
        "more": max(0, len(ids) - _MOST["samples"]),
        "repetitions": row.get("repetitions"),
    }


def _ledger(rows: Iterable[Mapping[str, Any]], samples: Sequence[Sample], texts: Texts) -> dict[str, Any]:
    """The facts of every patient and every rule that occur among the samples."""
    shown = {sample.id: texts.plain(sample.id, sample, _NAME) for sample in samples}
    owners: dict[str, dict[Any, str]] = {
        "patient": {s.patient_id: texts.plain(s.patient_id, s, _NAME) for s in samples if s.patient_id is not None},
        "rule": {s.rule_id: texts.plain(s.rule_id, s, _NAME) for s in samples if s.rule_id is not None},
    }
    found: dict[str, dict[str, Any]] = {"patient": {}, "rule": {}}
    for row in rows:
        for kind, names in owners.items():
            name = names.get(row.get(f"{kind}_id"))
            if name is not None:
                held = found[kind].setdefault(name, {"facts": [], "total": 0})
                held["total"] += 1
                if len(held["facts"]) < _MOST["facts"]:
                    held["facts"].append(_fact(row, texts, shown))
    return found


def page_data(benchmark: BenchmarkFolder, census: Census, texts: Texts) -> dict[str, Any]:
    """Everything the page's script reads; every text is visible, clipped, and marked or hidden.

    Args:
        texts: hides private values where they are real; then burned-in values are blacked out too.

    Raises:
        DataError: an image is missing or cannot be read.
    """
    samples = census.picked
    album = Album(regions=census.regions, hidden=census.regions if texts.hide else {})
    _ask_for_pictures(samples, album)
    album.fill(benchmark)
    present = list(dict.fromkeys((sample.subset, sample.stratum) for sample in samples))
    return {
        "images": [list(picture) for picture in album.pictures],
        "places": [
            {
                "subset": subset.value,
                "label": SUBSET_LABELS[subset],
                "strata": [[at.value, STRATUM_LABELS[at]] for of, at in present if of is subset],
            }
            for subset in dict.fromkeys(subset for subset, _ in present)
        ],
        "forms": FORM_LABELS,
        "samples": [_entry(sample, texts, album) for sample in samples],
        "ledger": _ledger(benchmark.ledger(), samples, texts),
        "hidden": texts.hide,
    }
