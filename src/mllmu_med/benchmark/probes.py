"""Probes: held-out ways to ask for an injected fact, never trained on."""

from __future__ import annotations

from mllmu_med.benchmark.phrasing import Wordings
from mllmu_med.benchmark.sample import Probe
from mllmu_med.benchmark.wordings import GENERIC, PREFIXES, language_of


def probes(wordings: Wordings, language: str, *, has_image: bool) -> tuple[Probe, ...]:
    """The probes of a sample.

    Always ``paraphrase-1`` … (held-out wordings) and ``prefix-1`` … (the question behind a sentence that is never
    trained on). With an image also ``blank`` and ``mismatched`` (the question as it is, with an image that cannot
    help) and ``generic`` (an open question about the patient, with the image).
    """
    language = language_of(language)
    found = [Probe(f"paraphrase-{number}", text) for number, text in enumerate(wordings.held_out, start=1)]
    found += [
        Probe(f"prefix-{number}", frame.format(question=wordings.question))
        for number, frame in enumerate(PREFIXES[language], start=1)
    ]
    if has_image:
        found += [
            Probe("blank", wordings.question, image="blank"),
            Probe("mismatched", wordings.question, image="mismatched"),
            Probe("generic", GENERIC[language]),
        ]
    return tuple(found)
