"""Private values marked inside answers, however the model spelt them."""

from __future__ import annotations

from collections.abc import Iterable

from mllmu_med.benchmark.sample import Span
from mllmu_med.evaluation.normalise import fold
from mllmu_med.evaluation.spans import find
from mllmu_med.report.text import clipped, visible

LIMIT = 600
"""Characters of one answer that the page shows."""

Segments = str | list[str]


def _folded_places(text: str) -> list[int] | None:
    """For each character of ``fold(text)`` its place in ``text``; None where the two cannot be aligned."""
    pieces: list[str] = []
    places: list[int] = []
    space: int | None = None
    for place, character in enumerate(text):
        if character.isspace():
            space = place if space is None else space
            continue
        piece = fold(character)
        if not piece:
            continue
        if space is not None and pieces:
            pieces.append(" ")
            places.append(space)
        space = None
        pieces.append(piece)
        places += [place] * len(piece)
    return places if "".join(pieces) == fold(text) else None


def private_places(text: str, spans: Iterable[Span]) -> list[tuple[int, int]]:
    """Where private values stand in ``text``, sorted, overlapping places merged.

    Found as the metrics find them (spacing, case, separators and date formats may differ). Where the folded text cannot
    be aligned with the text, the whole text is one place.
    """
    values = sorted({span.value for span in spans})
    found = [place for value in values for place in find(text, value)]
    if not found:
        return []
    aligned = _folded_places(text)
    if aligned is None:
        return [(0, len(text))]
    merged: list[tuple[int, int]] = []
    for start, end in sorted((aligned[start], aligned[end - 1] + 1) for start, end in found):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


def marked(text: str, spans: Iterable[Span] = (), limit: int = LIMIT) -> Segments:
    """The text for the page, made visible and clipped: plain, or cut into pieces of which every second is private.

    ``"record MRN-1."`` with the value ``MRN-1`` gives ``["record ", "MRN-1", "."]``. A value beyond the limit is still
    shown, after the note of what is left out, so that clipping never hides a leak.
    """
    places = private_places(text, spans)
    if not places:
        return visible(clipped(text, limit))
    pieces, position = [], 0
    for start, end in places:
        if start < limit:
            pieces += [visible(clipped(text[position:start], limit)), visible(text[start:end])]
        else:
            note = f"{text[position:limit]}… [{start - max(position, limit):,} more characters] "
            pieces += [visible(note), visible(text[start:end])]
        position = end
    return [*pieces, visible(clipped(text[position:], max(0, limit - position)))]
