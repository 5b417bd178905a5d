"""What every model is asked: samples, each as trained and under its probes."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import NamedTuple

from mllmu_med.benchmark.sample import Probe, Sample, Stratum, Subset
from mllmu_med.evaluation.outputs import ORIGINAL
from mllmu_med.evaluation.probe_images import BLANK
from mllmu_med.seeding import rng


class Asked(NamedTuple):
    """One (sample, probe) with the image it is asked about, and the answer whose likelihood is measured."""

    sample: Sample
    probe: str
    question: str
    image: str | None
    answer: str


def evaluation_samples(samples: Sequence[Sample], *, most: int, seed: int, part: str = "test") -> list[Sample]:
    """What is asked: everything but validation, with at most ``most`` samples of each large ordinary stratum.

    The choice is of whole groups, by seed; injected facts and patients are never left out. ``part="validation"``: the
    validation samples take the place (and the subset) of the test samples, and holdout patients are left out.
    """
    kept: list[Sample] = []
    large: dict[tuple[Subset, Stratum], list[Sample]] = {}
    if part == "validation":
        left_out = (Subset.TEST, Subset.HOLDOUT)
        samples = [
            replace(sample, subset=Subset.TEST) if sample.subset is Subset.VALIDATION else sample
            for sample in samples
            if sample.subset not in left_out
        ]
    for sample in samples:
        if sample.subset is Subset.VALIDATION:
            continue
        if sample.stratum in (Stratum.GENERAL, Stratum.SIBLING):
            large.setdefault((sample.subset, sample.stratum), []).append(sample)
        else:
            kept.append(sample)
    for (subset, stratum), members in large.items():
        groups = sorted({sample.group for sample in members})
        rng(seed, "evaluation samples", subset, stratum).shuffle(groups)
        counts = {group: sum(s.group == group for s in members) for group in groups} if len(members) > most else {}
        chosen, total = set(), 0
        for group in groups:
            if counts and total >= most:
                break
            chosen.add(group)
            total += counts.get(group, 0)
        kept += [sample for sample in members if sample.group in chosen]
    order = {sample.id: index for index, sample in enumerate(samples)}
    return sorted(kept, key=lambda sample: order[sample.id])


def asked(samples: Sequence[Sample], *, probes: Collection[str], seed: int) -> list[Asked]:
    """Every sample as trained, and under each of its probes whose family is asked for.

    A ``mismatched`` probe is asked about another sample's image, drawn by (seed, sample).
    """
    images = sorted({sample.image_id for sample in samples if sample.image_id is not None})
    grid = []
    for sample in samples:
        grid.append(Asked(sample, ORIGINAL, sample.question, sample.image_id, sample.answer))
        for probe in sample.probes:
            if probe.family in probes:
                image = _probe_image(sample, probe, images, seed)
                grid.append(Asked(sample, probe.name, probe.question, image, probe.answer or sample.answer))
    return grid


def _probe_image(sample: Sample, probe: Probe, images: list[str], seed: int) -> str | None:
    if probe.image == "other":
        return probe.image_id
    if sample.image_id is None or probe.image == "own":
        return sample.image_id
    if probe.image == "blank":
        return BLANK
    if probe.image.startswith("variant-"):
        return f"{sample.image_id}#{probe.image}"
    draw = rng(seed, "mismatched", sample.id)
    return draw.choice([image for image in images if image != sample.image_id] or [BLANK])
