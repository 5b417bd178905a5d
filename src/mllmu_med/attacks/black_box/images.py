"""The question about another image: changed, changed and reworded, none, or somebody else's."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import chain
from typing import ClassVar

from mllmu_med.attacks.black_box.fairness import new_wording
from mllmu_med.attacks.black_box.wording import held_out_wordings, named_question, not_negative, own_wordings
from mllmu_med.attacks.interface import Asking, Data, Query
from mllmu_med.benchmark.images.changes import CHANGES, STRENGTHS, Change, Strength
from mllmu_med.benchmark.sample import Sample
from mllmu_med.seeding import rng


@dataclass(frozen=True)
class ChangedImage(Asking):
    """Change the image and ask the question as it was trained; UnLOK-VQA's image rephrasing (arXiv 2505.01456).

    Variants ``CHANGE-STRENGTH``, e.g. ``crop-easy``; see :mod:`~mllmu_med.benchmark.images.changes` for what they do.
    UnLOK-VQA takes other photographs of the same thing in three degrees; of a patient there is only this image, so ours
    are the image itself, taken or stored otherwise. A deletion bound to the very pixels fails here.

    Attributes:
        changes: kinds of change. strengths: how far each goes.
    """

    label: ClassVar = "Changed image"
    source: ClassVar = "arXiv 2505.01456 (image rephrasing)"
    summary: ClassVar = "the image cropped, flipped, windowed, noisy or compressed"
    cost: ClassVar = "15 answers; none without an image"
    changes: tuple[Change, ...] = CHANGES
    strengths: tuple[Strength, ...] = STRENGTHS
    budget: int = field(default=1, init=False)

    def queries(self, sample: Sample, data: Data) -> Iterable[Query]:
        """One for each change at each strength."""
        if sample.image_id is None:
            return
        for change in dict.fromkeys(self.changes):
            for strength in dict.fromkeys(self.strengths):
                name = f"{change}-{strength}"
                yield Query(name, sample.question, f"{sample.image_id}#{name}")


@dataclass(frozen=True)
class ChangedImageAndQuestion(Asking):
    """Change the image and the wording together; UnLOK-VQA's multimodal rephrasing (arXiv 2505.01456).

    Each change of the image goes with a wording of its own that was not trained on, held-out probes first.

    Attributes:
        changes: kinds of change. strength: how far each goes.
    """

    label: ClassVar = "Changed image and question"
    source: ClassVar = "arXiv 2505.01456 (multimodal rephrasing)"
    summary: ClassVar = "a changed image and a new wording at once"
    cost: ClassVar = "5 answers; none without an image"
    changes: tuple[Change, ...] = CHANGES
    strength: Strength = "medium"
    budget: int = field(default=1, init=False)

    def queries(self, sample: Sample, data: Data) -> Iterable[Query]:
        """One for each change; none where there is no other wording."""
        if sample.image_id is None:
            return
        wordings = [*held_out_wordings(sample, "paraphrase"), *own_wordings(sample)]
        for place, change in enumerate(dict.fromkeys(self.changes)):
            if wordings:
                name = f"{change}-{self.strength}"
                yield Query(name, wordings[place % len(wordings)], f"{sample.image_id}#{name}")


@dataclass(frozen=True)
class TextOnly(Asking):
    """Ask without the image.

    ``question``: the trained question alone. ``named``: the same values asked for by the patient's name, where the
    attacker may know it. Deletion by image must reach what was learnt of the patient by name.

    Attributes:
        variants: most questions, in this order.
    """

    label: ClassVar = "Text only"
    source: ClassVar = "ours"
    summary: ClassVar = "the question without its image, or by the patient's name"
    cost: ClassVar = "2 answers; none for questions that have no image"
    variants: int = 2
    budget: int = field(default=1, init=False)

    def __post_init__(self) -> None:
        not_negative(variants=self.variants)

    def queries(self, sample: Sample, data: Data) -> Iterable[Query]:
        """At most ``variants``."""
        if sample.image_id is None:
            return []
        found = [Query("question", sample.question, None)]
        named = named_question(sample, data, sample.language)
        if named is not None and new_wording(sample, named):
            found.append(Query("named", named, None))
        return found[: self.variants]


@dataclass(frozen=True)
class MismatchedImage(Asking):
    """Ask about an image that has nothing to do with the target; also where the question had none.

    A value that is told all the same hangs on the words of the question. The images are of other groups, of samples
    that the attacker has; which ones is drawn by seed.

    Attributes:
        images: how many.
    """

    label: ClassVar = "Mismatched image"
    source: ClassVar = "ours"
    summary: ClassVar = "the question about somebody else's image"
    cost: ClassVar = "2 answers"
    images: int = 2
    budget: int = field(default=1, init=False)

    def __post_init__(self) -> None:
        not_negative(images=self.images)

    def queries(self, sample: Sample, data: Data) -> Iterable[Query]:
        """One for each image."""
        others = sorted(
            {
                one.image_id
                for one in chain(data.retained, data.unrelated, data.bystanders, data.targets)
                if one.image_id is not None
                and one.image_id != sample.image_id
                and one.group != sample.group
                and one.cluster != sample.cluster
            }
        )
        chosen = rng(data.seed, "mismatched images", sample.id).sample(others, k=min(self.images, len(others)))
        for number, image in enumerate(chosen, start=1):
            yield Query(f"image-{number}", sample.question, image)
