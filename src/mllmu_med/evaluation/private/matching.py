"""Where an answer tells a value, read as leniently as a person would who knows what to look for."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from ipaddress import IPv6Address
from typing import NamedTuple

from mllmu_med.evaluation.dates import find_dates
from mllmu_med.evaluation.normalise import CACHE, fold, has_cjk
from mllmu_med.evaluation.private.forms import CALLING_CODES, Phone, forms, groups, national_number, parts
from mllmu_med.evaluation.private.moments import find_ages, moment_places, whole_age, whole_date, whole_moment
from mllmu_med.evaluation.private.numerals import (
    HAN_RUN,
    SAID,
    TOKEN,
    english_readings,
    han_number,
    positional,
)

Place = tuple[int, int]

_SHORT = 3  # characters: values up to this size must stand alone, not be a group of a longer number
_GLUE = re.compile(r"[-./:,'+]")
_CODES = "|".join(sorted(CALLING_CODES, key=len, reverse=True))
_OUTSIDE = re.compile(rf"(?:\+\s?|00\s?|011\s?)(?P<code>{_CODES})0?$")
_IN_FRONT = re.compile(r"(?:\+\s?|(?<!\d)(?:00|011)\s?)(?P<code>\d{1,3})[\s.()/-]+(?:0[\s.()/-]+)?$")
_LONGEST_PREFIX = 7
_NORTH_AMERICAN = 10  # digits of a number that may follow a bare "1"
_MOST_PASSED = 4  # tokens in a row that tell nothing ("dash capital"): an answer may be "and and and …"
_LONGEST_NUMERAL = 8  # "三千九百九十九"; longer runs are single digits
_NEAR = 30  # characters between the parts of an address

_SAID_SIGNS = frozenset(
    {"dash", "hyphen", "minus", "dot", "point", "period", "slash", "at", "underscore", "plus", "colon", "hash", "tilde",
     "space", "comma", "capital", "uppercase", "lowercase", "upper", "lower", "case", "letter", "number", "digit",
     "then", "and", "点", "杠", "横", "划", "线"}
)  # fmt: skip
_LETTERS = (
    "alpha", "alfa", "bravo", "charlie", "delta", "echo", "foxtrot", "golf", "hotel", "india", "juliet", "juliett",
    "kilo", "lima", "mike", "november", "oscar", "papa", "quebec", "romeo", "sierra", "tango", "uniform", "victor",
    "whiskey", "whisky", "yankee", "zulu",
)  # fmt: skip
_SPELLING = {word: word[0] for word in _LETTERS}
_SPOKEN = _SAID_SIGNS | _SPELLING.keys() | SAID | {"x", "as", "for", "like", "番", "号", "丁"}
_IPV6 = re.compile(r"(?<![0-9a-z])(?<![0-9a-z]:)[0-9a-f]{1,4}(?::[0-9a-f]{0,4}){2,7}(?![0-9a-z:])")


class Edge(NamedTuple):
    """A way to read the tokens up to ``end``: as ``text``, which is empty for what is passed over ("dash")."""

    end: int
    text: str


class Lattice(NamedTuple):
    """An answer's tokens with their places in the folded text, and every way to read on from each of them."""

    tokens: tuple[str, ...]
    starts: tuple[int, ...]
    ends: tuple[int, ...]
    further: dict[int, tuple[Edge, ...]]
    """Token → the ways to read it other than as it stands."""
    by_text: dict[str, list[int]]
    """What may stand at a beginning → the tokens that it begins at."""


def _spoken(tokens: tuple[str, ...], at: int) -> Iterator[Edge]:
    """What is said rather than written: signs by name, letters by the spelling alphabet."""
    token = tokens[at]
    if token in _SAID_SIGNS:
        yield Edge(at + 1, "")
    if token in _SPELLING:
        yield Edge(at + 1, _SPELLING[token])
    if at and (tokens[at - 1].isdigit() or tokens[at - 1] in SAID):  # Japanese blocks: "3丁目12番5号"
        if token in ("番", "号"):
            yield Edge(at + (2 if tokens[at + 1 : at + 2] == ("地",) else 1), "")
        elif tokens[at : at + 2] == ("丁", "目"):
            yield Edge(at + 2, "")
    if token == "x" and tokens[at + 1 : at + 2] == ("ray",):
        yield Edge(at + 2, "x")
    if at and len(tokens[at - 1]) == 1:  # "m as in mike", "m for mother"
        skip = 2 if tokens[at : at + 2] == ("as", "in") else 1 if token in ("for", "like") else 0
        if skip and at + skip < len(tokens) and tokens[at + skip].startswith(tokens[at - 1]):
            ray = tokens[at + skip : at + skip + 2] == ("x", "ray")
            yield Edge(at + skip + (2 if ray else 1), "")


def _han(folded: str, found: list[re.Match[str]], at: int) -> Iterator[Edge]:
    """Every beginning of the run of Chinese numerals at a token, as a number.

    Of digits one after the other the first alone: longer beginnings are the same digits, and every way to cut a long
    number would be walked through.
    """
    start = found[at].start()
    run = HAN_RUN.match(folded, start, start + _LONGEST_NUMERAL)
    for size in range(1, len(run.group()) + 1 if run else 1):
        beginning = folded[start : start + size]
        number = None if size > 1 and positional(beginning) else han_number(beginning)
        if number is not None:
            yield Edge(at + size, number)


@lru_cache(CACHE)
def lattice(answer: str) -> Lattice:
    """Every reading of an answer: its runs of letters and digits as they stand; number words as digits, grouped in
    every sensible way; "double five"; Chinese numerals; signs and letters that are spelt out."""
    folded = fold(answer)
    found = list(TOKEN.finditer(folded))
    tokens = tuple(match.group() for match in found)
    starts, ends = tuple(match.start() for match in found), tuple(match.end() for match in found)
    further: dict[int, tuple[Edge, ...]] = {}
    by_text: dict[str, list[int]] = {}
    for at, token in enumerate(tokens):
        by_text.setdefault(token, []).append(at)
        if token not in _SPOKEN:
            continue
        numbers = (Edge(one.end, one.text) for one in english_readings(tokens, at))
        further[at] = tuple(dict.fromkeys((*_spoken(tokens, at), *numbers, *_han(folded, found, at))))
        for text in {edge.text for edge in further[at]} - {"", token}:
            by_text.setdefault(text, []).append(at)
    return Lattice(tokens, starts, ends, further, by_text)


def _readings(
    net: Lattice, form: str, at: int, done: int, cuts: tuple[int, ...], passed: int = 0
) -> Iterator[tuple[int, tuple[int, ...]]]:
    """(last token + 1, where the tokens were cut) of every way to read ``form[done:]`` on from token ``at``; the
    ``passed`` tokens just before were passed over."""
    if done == len(form):
        yield at, cuts
        return
    if at == len(net.tokens):
        return
    if form.startswith(net.tokens[at], done):
        total = done + len(net.tokens[at])
        yield from _readings(net, form, at + 1, total, (*cuts, total))
    for edge in net.further.get(at, ()):
        if edge.text:
            if form.startswith(edge.text, done):
                total = done + len(edge.text)
                yield from _readings(net, form, edge.end, total, (*cuts, total))
        elif done and passed < _MOST_PASSED:
            yield from _readings(net, form, edge.end, done, cuts, passed + 1)


def _stands_alone(net: Lattice, folded: str, first: int, last: int) -> bool:
    """Whether nothing that is part of the same number or word is joined to these tokens: no digit or letter, neither
    directly nor by one separator, and no number word."""
    for beside in (first - 1, last):
        if 0 <= beside < len(net.tokens) and (
            net.tokens[beside] in ("hundred", "thousand") or _is_number_word(net, beside)
        ):
            return False
    start, end = net.starts[first], net.ends[last - 1]
    before, after = folded[max(0, start - 2) : start], folded[end : end + 2]
    if before and before[-1].isalnum() and not has_cjk(before[-1]):
        return False
    if after and after[0].isalnum() and not has_cjk(after[0]):
        return False
    glued_before = len(before) == 2 and _GLUE.match(before[1]) and before[0].isdigit()
    glued_after = len(after) == 2 and _GLUE.match(after[0]) and after[1].isdigit()
    return not glued_before and not glued_after


def _is_number_word(net: Lattice, at: int) -> bool:
    return not net.tokens[at].isdigit() and any(edge.text.isdigit() for edge in net.further.get(at, ()))


def _form_places(answer: str, form: str, wanted: frozenset[int] | None) -> Iterator[Place]:
    net, folded = lattice(answer), fold(answer)
    alone = len(form) <= _SHORT and not has_cjk(form)
    for text, places in net.by_text.items():
        if not form.startswith(text):
            continue
        for at in places:
            for end, cuts in _readings(net, form, at, 0, ()):
                if wanted is not None and not wanted <= set(cuts):
                    continue
                if not alone or _stands_alone(net, folded, at, end):
                    yield net.starts[at], net.ends[end - 1]


def _prefixed(before: str, prefix: str, phone: Phone) -> bool:
    """Whether ``prefix`` may be written in one run with a national number: a trunk zero, the country code behind "+" or
    "00", or a bare "1" in North America."""
    if prefix == "0" and phone.code != "1":
        return True
    american = len(phone.digits) == _NORTH_AMERICAN and phone.digits[0] not in "01" and not phone.trunk
    if prefix == "1" and american and phone.code in (None, "1"):
        return True
    outside = _OUTSIDE.fullmatch(before + prefix)
    return outside is not None and phone.code in (None, outside["code"])


def _glued_phone(answer: str, phone: Phone) -> Iterator[Place]:
    """A telephone number in one run with its country code or trunk zero, whatever separates the rest."""
    net, folded, number = lattice(answer), fold(answer), phone.digits
    for at, token in enumerate(net.tokens):
        if not token.isdigit():
            continue
        for size in range(1, min(_LONGEST_PREFIX, len(token) - 1) + 1):
            rest = token[size:]
            if number.startswith(rest) and _prefixed(_plus(folded, net.starts[at]), token[:size], phone):
                yield from (
                    (net.starts[at], net.ends[end - 1]) for end, _ in _readings(net, number, at + 1, len(rest), ())
                )


def _plus(folded: str, start: int) -> str:
    return "+" if folded[max(0, start - 2) : start].rstrip().endswith("+") else ""


def _abroad(answer: str, place: Place, code: str | None) -> bool:
    """Whether another country's code than ``code`` stands in front of the place."""
    before = fold(answer)[max(0, place[0] - 12) : place[0]]
    outside = _IN_FRONT.search(before)
    return code is not None and outside is not None and outside["code"] != code


def _ipv6_places(answer: str, value: str) -> list[Place]:
    folded = fold(value)
    if folded.count(":") < 2 or not _IPV6.fullmatch(folded):
        return []
    wanted = _ipv6(folded)
    found = ((match.start(), match.end(), _ipv6(match.group())) for match in _IPV6.finditer(fold(answer)))
    return [(start, end) for start, end, address in found if address is not None and address == wanted]


def _ipv6(text: str) -> IPv6Address | None:
    try:
        return IPv6Address(text)
    except ValueError:
        return None


def _in_parts(answer: str, value: str) -> list[Place]:
    """Both parts of an address within a few words of each other, in either order."""
    wanted = parts(value)
    if not wanted:
        return []
    first, second = (find(answer, part) for part in wanted)
    return [
        (min(one[0], other[0]), max(one[1], other[1]))
        for one in first
        for other in second
        if 0 <= other[0] - one[1] <= _NEAR or 0 <= one[0] - other[1] <= _NEAR
    ]


@lru_cache(CACHE)
def _find(answer: str, value: str) -> tuple[Place, ...]:
    wanted = groups(value)
    found = [place for form in forms(value) for place in _form_places(answer, form, wanted)]
    phone = national_number(fold(value))
    if phone is not None:
        found += _glued_phone(answer, phone)
        found = [place for place in found if not _abroad(answer, place, phone.code)]
    date = whole_date(value)
    if date is not None:
        found += [(one.start, one.end) for one in find_dates(answer) if one.readings & date.readings]
    elif (moment := whole_moment(value)) is not None:
        found += moment_places(answer, *moment)
    elif (age := whole_age(value)) is not None:
        found += [(one.start, one.end) for one in find_ages(answer) if one[:3] == age[:3]]
    found += _ipv6_places(answer, value)
    found += _in_parts(answer, value)
    return tuple(sorted(set(found)))


def find(answer: str, value: str) -> list[Place]:
    """Where ``value`` is told, exactly or in normalised form, as places in ``fold(answer)``; empty where it is not."""
    return list(_find(answer, value))
