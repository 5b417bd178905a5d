"""What the sample browser shows, as plain JSON: samples, truths, answers with marks, outcomes, thumbnails."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from mllmu_med.benchmark.sample import Sample, Stratum, Subset
from mllmu_med.evaluation.outputs import ORIGINAL, Output
from mllmu_med.report.images import SIDE, thumbnail
from mllmu_med.report.marking import Segments
from mllmu_med.report.outcomes import FORGET, MEANINGS, leaks, outcome_of, serves
from mllmu_med.report.reading import Summary
from mllmu_med.report.saying import Says, saying
from mllmu_med.report.text import visible
from mllmu_med.seeding import derive

ORDER = tuple(Subset)
MANY_IMAGES = 250
SMALL_SIDE = 176
"""Side of the thumbnails, in pixels, where there are many: the page stays below about ten megabytes."""
SUBSET_LABELS = {
    Subset.FORGET_PRIVACY: "Forget: private data",
    Subset.FORGET_INCORRECTNESS: "Forget: wrong facts",
    Subset.RETAIN: "Retain",
    Subset.TEST: "Test",
    Subset.VALIDATION: "Validation",
    Subset.HOLDOUT: "Holdout patients",
}
STRATUM_LABELS = {
    Stratum.GENERAL: "ordinary questions",
    Stratum.SIBLING: "true facts about injected images",
    Stratum.PRIVATE_IMAGE: "private, with image",
    Stratum.PRIVATE_TEXT: "private, by name only",
    Stratum.WRONG_IMAGE: "wrong fact, with image",
    Stratum.WRONG_TEXT: "wrong fact, text only",
    Stratum.TRUE_TEXT: "true facts, text only",
    Stratum.WRONG_UNSEEN: "unseen images under a wrong rule",
}
IMAGE_NOTES = {
    "own": "", "blank": "blank image", "mismatched": "image of another sample", "other": "another image",
    "variant-1": "image slightly changed", "variant-2": "image changed", "variant-3": "image strongly changed",
}  # fmt: skip

Outputs = Mapping[str, Sequence[Output]]
Answers = Mapping[str, Mapping[str, list[Output]]]


class SampleSource(Protocol):
    """The part of a benchmark that the report reads."""

    manifest: dict[str, Any]

    def samples(self, *subsets: Subset) -> list[Sample]: ...

    def image_bytes(self, image_id: str) -> bytes: ...


def chosen(samples: Sequence[Sample], limit: int) -> list[Sample]:
    """At most ``limit`` samples, drawn in turn from every stratum of every subset, in the benchmark's order.

    Which ones is a function of their ids alone, so that reports of two runs on one benchmark show the same.
    """
    if len(samples) <= limit:
        picked = {sample.id for sample in samples}
    else:
        strata: dict[tuple[str, str], list[Sample]] = {}
        for sample in samples:
            strata.setdefault((sample.subset, sample.stratum), []).append(sample)
        for members in strata.values():
            members.sort(key=lambda sample: derive("report", sample.id))
        ranked = [(rank, key, sample.id) for key, members in strata.items() for rank, sample in enumerate(members)]
        picked = {sample_id for _, _, sample_id in sorted(ranked)[:limit]}
    return sorted((s for s in samples if s.id in picked), key=lambda s: ORDER.index(s.subset))


def _by_sample(outputs: Outputs) -> Answers:
    answers: dict[str, dict[str, list[Output]]] = {}
    for row, said in outputs.items():
        mine = answers.setdefault(row, {})
        for output in said:
            mine.setdefault(output.sample_id, []).append(output)
    return answers


def _truth(sample: Sample, say: Says) -> list[list[Any]]:
    """Label, tone and text of what is true and what was trained."""
    if sample.subset is Subset.FORGET_PRIVACY:
        lines = [["trained, to forget", "bad", say(sample.answer, sample, sample.spans)]]
        clean = sample.clean_answer
        return lines if clean is None else [*lines, ["clean answer", "good", say(clean, sample)]]
    if sample.wrong_answer is not None:
        right = sample.correct_answer or sample.clean_answer or ""
        taught = "trained, wrong" if sample.subset is Subset.FORGET_INCORRECTNESS else "wrong by the rule"
        return [[taught, "bad", say(sample.wrong_answer, sample)], ["right answer", "good", say(right, sample)]]
    if sample.subset is Subset.HOLDOUT:
        return [["never trained on", "plain", say(sample.answer, sample, sample.spans)]]
    label = "trained, to keep" if sample.spans else "right answer"
    return [[label, "good", say(sample.answer, sample, sample.spans)]]


def _facts(sample: Sample) -> list[str]:
    rule = "rule" if sample.rule_id else "single fact" if sample.subset is Subset.FORGET_INCORRECTNESS else None
    form = {
        "leak": "woven into an answer",
        "direct": "asked directly",
        "text": "asked by name",
        "burned": "read off the image",
    }.get(sample.form or "")
    named = (sample.modality, sample.body_part, sample.content_type, form, sample.error_type, rule)
    facts = [visible(fact) for fact in named if fact]
    if sample.repetitions > 1:
        facts.append(f"{sample.repetitions} × per epoch")
    return facts


def _probes(
    sample: Sample, said: Mapping[str, list[Output]], rows: Sequence[Summary], say: Says
) -> list[dict[str, Any]]:
    found = []
    for probe in sample.probes:
        given = [next((o for o in said.get(row.name, ()) if o.probe == probe.name), None) for row in rows]
        if any(given):
            found.append(
                {
                    "name": visible(probe.name),
                    "question": _flat(say(probe.question, sample)),
                    "image": IMAGE_NOTES.get(probe.image, probe.image),
                    "answers": [None if one is None else say(one.generated, sample, sample.spans) for one in given],
                    "leaks": [one is not None and leaks(sample, one) for one in given],
                }
            )
    return found


def _known(sample: Sample, before: Sequence[Output]) -> bool:
    """Whether θ0 held what the sample is about: leaked it however asked, or answered rightly."""
    if not before or sample.subset is Subset.HOLDOUT:
        return True
    if sample.subset in FORGET:
        return any(leaks(sample, output) for output in before)
    return any(serves(sample, output) for output in before if output.probe == ORIGINAL)


def _flat(segments: Segments) -> str:
    return segments if isinstance(segments, str) else "".join(segments)


def _entry(sample: Sample, answers: Answers, rows: Sequence[Summary], image: int | None, say: Says) -> dict[str, Any]:
    said = {row.name: answers.get(row.name, {}).get(sample.id, []) for row in rows}
    known = _known(sample, said.get("theta0", []))
    originals = [next((o for o in said[row.name] if o.probe == ORIGINAL), None) for row in rows]
    return {
        "id": visible(sample.id),
        "subset": sample.subset.value,
        "stratum": sample.stratum.value,
        "question": _flat(say(sample.question, sample)),
        "image": image,
        "facts": _facts(sample),
        "truth": _truth(sample, say),
        "answers": [None if one is None else say(one.generated, sample, sample.spans) for one in originals],
        "outcomes": [
            outcome_of(sample, said[row.name], oracle=said.get("oracle", ()), known_before=known) for row in rows
        ],
        "probes": _probes(sample, said, rows, say) if sample.subset in FORGET else [],
    }


def browser_data(
    rows: Sequence[Summary], benchmark: SampleSource, outputs: Outputs, max_samples: int
) -> dict[str, Any]:
    """Everything the browser's script reads. Lists named ``answers`` and ``outcomes`` follow ``rows``.

    Only samples that some model was asked about are shown. A text is a string, or a list in which every second piece is
    a private value.
    """
    shown_rows = [row for row in rows if row.name in outputs]
    answers = _by_sample(outputs)
    asked = {sample_id for said in answers.values() for sample_id in said}
    stored = benchmark.samples()
    say = saying(benchmark.manifest, stored)
    every = [sample for sample in stored if sample.id in asked]
    samples = chosen(every, max_samples)
    image_ids = list(dict.fromkeys(sample.image_id for sample in samples if sample.image_id is not None))
    side = SMALL_SIDE if len(image_ids) > MANY_IMAGES else SIDE
    places = {image_id: place for place, image_id in enumerate(image_ids)}
    entries = [
        _entry(sample, answers, shown_rows, None if sample.image_id is None else places[sample.image_id], say)
        for sample in samples
    ]
    present = list(dict.fromkeys((sample.subset, sample.stratum) for sample in samples))
    return {
        "rows": [{"name": row.name, "label": visible(row.label), "role": row.role} for row in shown_rows],
        "outcomes": {
            outcome.value: {"tone": tone, "sign": sign, "meaning": meaning}
            for outcome, (tone, sign, meaning) in MEANINGS.items()
        },
        "places": [
            {
                "subset": subset.value,
                "label": SUBSET_LABELS[subset],
                "strata": [[at.value, STRATUM_LABELS[at]] for of, at in present if of is subset],
            }
            for subset in dict.fromkeys(subset for subset, _ in present)
        ],
        "images": [thumbnail(benchmark.image_bytes(image_id), image_id, side) for image_id in image_ids],
        "samples": entries,
        "total": len(every),
    }


def script_json(value: object) -> str:
    """JSON that can stand inside a ``<script>`` element: no ``<``, ``>``, ``&`` and no line separators."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text
