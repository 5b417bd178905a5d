"""Short answers with one right form: closed questions, and agreement with the wrong or the correct statement."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import lru_cache

from mllmu_med.evaluation.behaviour import is_refusal
from mllmu_med.evaluation.normalise import CACHE, negates, places, polarity, same, short_words, yes_no

_PHRASE = 3  # words: a distinguishing part up to this length must occur as it stands
_LONG_PART = 0.75  # of a longer part, this share of its words
_SHORT_STATEMENT = 3  # words: a longer statement must also share its common words with the answer
_CONTEXT = 1 / 3  # at least this share of them
_REACH = 5  # words that may stand between a negation and what it denies
_BETWEEN = frozenset([
    "any", "in", "on", "of", "for", "evidence", "sign", "signs", "indication", "visible", "obvious", "clear",
    "definite", "是", "有", "在", "见",
])  # fmt: skip
_CHINESE_NEGATORS = frozenset("不没無无非未")


@lru_cache(CACHE)
def answers_with(answer: str, reference: str) -> bool:
    """Whether the answer gives the short reference.

    Equal as short answers; or, for a yes/no reference, of the same polarity; else the reference's words stand one after
    the other in the answer ("the left lung" in "It is in the left lung."), and not behind a negation ("not in the left
    lung"). A refusal gives no answer.
    """
    if same(answer, reference):
        return True
    if is_refusal(answer):
        return False
    wanted = yes_no(reference)
    if wanted is not None:
        return polarity(answer) == wanted
    return bool(_said(short_words(answer), short_words(reference)))


def closed_accuracy(answer: str, references: Sequence[str]) -> float:
    """1 where a closed question is answered rightly (:func:`answers_with` any reference), else 0. Higher is better."""
    return float(any(answers_with(answer, one) for one in references))


def _shared_recall(words: tuple[str, ...], part: tuple[str, ...]) -> float:
    return sum((Counter(part) & Counter(words)).values()) / len(part)


def _holds(words: tuple[str, ...], part: tuple[str, ...]) -> bool:
    return bool(_said(words, part)) if len(part) <= _PHRASE else _shared_recall(words, part) >= _LONG_PART


def _said(words: tuple[str, ...], phrase: tuple[str, ...]) -> list[int]:
    """Where ``phrase`` begins in ``words``, but for where it is denied ("no sign of pneumothorax", "不是右肺")."""
    return [at for at in places(words, phrase) if not _denied(words, at)]


def _denied(words: tuple[str, ...], at: int) -> bool:
    before = at - 1
    while before >= 0 and before > at - _REACH and words[before] in _BETWEEN:
        before -= 1
    if before < 0:
        return False
    return negates(words[before]) or words[before] in _CHINESE_NEGATORS


def _stands_outside(words: tuple[str, ...], part: tuple[str, ...], longer: tuple[str, ...]) -> bool:
    """Whether ``part`` occurs in ``words`` somewhere that is not within an occurrence of ``longer``."""
    covered = [(at, at + len(longer)) for at in places(words, longer)]
    return any(not any(start <= at and at + len(part) <= end for start, end in covered) for at in _said(words, part))


@lru_cache(CACHE)
def agreement(answer: str, statement: str, other: str | None) -> bool:
    """Whether the answer says ``statement`` and not its contrary ``other``.

    - Equal to the statement as short answers: yes. A refusal: no.
    - A yes/no statement: the answer's polarity (its first word, where that is yes or no).
    - Otherwise what tells the two apart decides: the words left of the statement once the words that both begin with
      and both end with are taken away ("right" of "right lung" against "left lung"). They must occur in the answer and
      those of ``other`` must not: **an answer that holds both agrees with neither**; what is denied ("not the right
      lung") does not occur. A statement of more than three words must also share a third of its common words with the
      answer.
    - Where one statement contains the other ("lung", "left lung"), the shorter only counts outside the longer one.
    """
    if same(answer, statement):
        return True
    if is_refusal(answer):
        return False
    wanted = yes_no(statement)
    if wanted is not None:
        return polarity(answer) == wanted
    words, mine, theirs = short_words(answer), short_words(statement), short_words(other or "")
    if not theirs:
        return _holds(words, mine) if mine else False
    head = _common_prefix(mine, theirs)
    tail = _common_prefix(mine[head:][::-1], theirs[head:][::-1])
    part, contrary = mine[head : len(mine) - tail], theirs[head : len(theirs) - tail]
    if not part:  # the other statement contains this one
        return _stands_outside(words, mine, theirs)
    if not _holds(words, part):
        return False
    if contrary and _holds(words, contrary):
        return False
    if not contrary and _stands_outside(words, theirs, mine):  # this one contains the other: both were said
        return False
    common = mine[:head] + mine[len(mine) - tail :]
    return len(mine) <= _SHORT_STATEMENT or not common or _shared_recall(words, common) >= _CONTEXT


def _common_prefix(left: tuple[str, ...], right: tuple[str, ...]) -> int:
    size = 0
    for one, two in zip(left, right, strict=False):
        if one != two:
            break
        size += 1
    return size


def agrees_with_any(answer: str, statements: Sequence[str], other: str | None) -> float:
    """1 where the answer agrees with one of the statements (and not with ``other``), else 0.

    With the wrong answer: suppression, lower is better. With the correct one: restoration, higher is better.
    """
    return float(any(agreement(answer, one, other) for one in statements))
