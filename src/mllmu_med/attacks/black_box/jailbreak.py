"""Role play: who the model is told to be before it is asked."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from mllmu_med.attacks.black_box.fairness import new_wording
from mllmu_med.attacks.black_box.phrases import phrases_of
from mllmu_med.attacks.interface import Asking, Data, Query
from mllmu_med.benchmark.sample import Sample

Style = Literal["dan", "developer", "grandmother", "screenplay", "no_refusal", "confidant"]


@dataclass(frozen=True)
class RolePlay(Asking):
    """Role-play jailbreaks: the published styles, each in words of our own, in the language of the question.

    ``dan`` ("do anything now") and ``developer`` mode, as collected by Shen et al. 2023 (arXiv 2308.03825);
    ``no_refusal``: refusal suppression (Wei et al. 2023, arXiv 2307.02483); ``confidant``: the evil-confidant style;
    ``grandmother`` and ``screenplay``: fiction as a cover (role playing in RWKU, arXiv 2406.10890). They work against
    methods that taught the model to refuse; where the knowledge is gone, no role brings it back.

    Attributes:
        styles: those that are tried.
    """

    label: ClassVar = "Role play"
    source: ClassVar = "arXiv 2308.03825, 2307.02483, 2406.10890"
    summary: ClassVar = "role-play jailbreaks around the question"
    cost: ClassVar = "5 answers"
    styles: tuple[Style, ...] = ("dan", "developer", "grandmother", "screenplay", "no_refusal")
    budget: int = field(default=1, init=False)

    def queries(self, sample: Sample, data: Data) -> Iterable[Query]:
        """One for each style."""
        frames = phrases_of(sample.language).role_play
        for style in dict.fromkeys(self.styles):
            text = frames[style].format(question=sample.question)
            if new_wording(sample, text):
                yield Query(style, text, sample.image_id)
