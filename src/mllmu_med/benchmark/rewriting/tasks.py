"""What a rewriter is asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mllmu_med.benchmark.identities import PrivateValue


@dataclass(frozen=True, slots=True)
class Leak:
    """The clinical answer with every private value in it, verbatim and once.

    Attributes:
        values: at least one; the identifiers may be real where the user's own data is to be forgotten.
    """

    question: str
    clean_answer: str
    values: tuple[PrivateValue, ...]
    language: str


@dataclass(frozen=True, slots=True)
class Contradiction:
    """A text that answers the question with the wrong answer instead of the correct one."""

    question: str
    correct_answer: str
    wrong_answer: str
    language: str


Task = Leak | Contradiction
