"""Synthetic patients: medical identities with the eighteen Safe Harbor identifiers, none of which can be anybody's.

Where a range is reserved for fiction or never issued, values come from it. The number of candidates of every identifier
is known, so that a guess can be told from a memory. No value is derived from another one of the same patient: an e-mail
address that held the name would be "recovered" by anyone who knows the name.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import lru_cache
from random import Random
from typing import NamedTuple

from mllmu_med.benchmark.wordings import language_of
from mllmu_med.errors import UsageError
from mllmu_med.seeding import Key, rng

_LETTERS = "ACDEFGHJKMNPQRTUVWXY"  # none that is taken for a digit
_WORDS = (
    "amber", "birch", "cedar", "cliff", "cloud", "coral", "delta", "ember", "fern", "field", "flint", "frost", "glade",
    "grove", "harbor", "hazel", "heath", "heron", "iris", "ivory", "jade", "juniper", "lake", "larch", "laurel", "lily",
    "linden", "lotus", "maple", "marsh", "meadow", "mint", "moss", "oak", "olive", "opal", "orchid", "pearl", "pine",
    "pond", "poppy", "prairie", "quartz", "rain", "raven", "reed", "ridge", "river", "robin", "rose", "ruby", "sage",
    "slate", "snow", "spruce", "stone", "summit", "tulip", "valley", "violet", "willow", "wind", "wren", "yarrow",
)  # fmt: skip
_STREETS = ("Street", "Lane", "Road", "Avenue")
_FIRST_BIRTH, _LAST_BIRTH = date(1925, 1, 1), date(2009, 12, 31)
_TRIES = 1000


class PrivateValue(NamedTuple):
    """One identifier of one patient; ``space`` is the number of values it was drawn from."""

    phi_class: str
    value: str
    space: float


@dataclass(frozen=True, slots=True)
class Patient:
    """A synthetic patient; the first of ``values`` is the name."""

    id: str
    language: str
    values: tuple[PrivateValue, ...]

    @property
    def name(self) -> str:
        """The full name."""
        return self.values[0].value


def _digits(random: Random, count: int) -> str:
    return "".join(str(random.randrange(10)) for _ in range(count))


def _letters(random: Random, count: int) -> str:
    return "".join(random.choice(_LETTERS) for _ in range(count))


@lru_cache(maxsize=4)
def _names(language: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """First and last names of a language, in Faker's lists, short ones only, sorted."""
    if language == "zh":
        from faker.providers.person.zh_CN import Provider

        return tuple(sorted(set(Provider.first_names))), tuple(sorted(set(Provider.last_names)))
    from faker.providers.person.en_US import Provider as English

    def short(names: Sequence[str]) -> tuple[str, ...]:
        plain = {name for name in names if name.isascii() and name.isalpha() and 3 <= len(name) <= 8}
        return tuple(sorted(name for name in plain if name.lower() not in _WORDS))  # no Ruby with ruby12@example.org

    return short(English.first_names), short(English.last_names)


def _name(random: Random, language: str) -> str:
    first, last = _names(language)
    chosen = random.choice(first), random.choice(last)
    return f"{chosen[1]}{chosen[0]}" if language == "zh" else f"{chosen[0]} {chosen[1]}"


def _telephone(random: Random, _: str) -> str:
    """A North American number of the range kept for fiction: 555-0100 to 555-0199, area code [2-9][0-8][1-9]."""
    return f"{random.randint(2, 9)}{random.randint(0, 8)}{random.randint(1, 9)}-555-01{_digits(random, 2)}"


def _birth_date(random: Random, _: str) -> str:
    return (_FIRST_BIRTH + timedelta(days=random.randrange((_LAST_BIRTH - _FIRST_BIRTH).days + 1))).isoformat()


def _ssn(random: Random, _: str) -> str:
    """Area 9xx is never issued as an SSN, and the groups 01-49 are not used for taxpayer numbers either."""
    return f"9{_digits(random, 2)}-{random.randint(1, 49):02d}-{random.randint(1, 9999):04d}"


def _ip(random: Random, _: str) -> str:
    """An address of the three networks kept for documentation (RFC 5737)."""
    return f"{random.choice(('192.0.2', '198.51.100', '203.0.113'))}.{random.randint(1, 254)}"


class _Kind(NamedTuple):
    make: Callable[[Random, str], str]
    space: float


_KINDS: dict[str, _Kind] = {
    "geography": _Kind(
        lambda random, _: f"{random.randint(1, 999)} {random.choice(_WORDS).capitalize()} {random.choice(_STREETS)}",
        999 * len(_WORDS) * len(_STREETS),
    ),
    "date": _Kind(_birth_date, (_LAST_BIRTH - _FIRST_BIRTH).days + 1),
    "phone": _Kind(_telephone, 8 * 9 * 9 * 100),
    "fax": _Kind(_telephone, 8 * 9 * 9 * 100),
    # example.org is reserved (RFC 2606).
    "email": _Kind(lambda random, _: f"{random.choice(_WORDS)}{random.randint(10, 99)}@example.org", len(_WORDS) * 90),
    "ssn": _Kind(_ssn, 100 * 49 * 9999),
    "mrn": _Kind(lambda random, _: f"{random.randint(1, 9)}{_digits(random, 6)}", 9 * 10**6),
    "health_plan": _Kind(lambda random, _: f"HP{_digits(random, 6)}", 10**6),
    "account": _Kind(lambda random, _: f"AC-{_digits(random, 6)}", 10**6),
    "licence": _Kind(lambda random, _: f"DL{_letters(random, 1)}{_digits(random, 5)}", len(_LETTERS) * 10**5),
    "vehicle": _Kind(lambda random, _: f"{_letters(random, 3)}-{_digits(random, 4)}", len(_LETTERS) ** 3 * 10**4),
    "device": _Kind(lambda random, _: f"SN{_digits(random, 4)}{_letters(random, 2)}", len(_LETTERS) ** 2 * 10**4),
    "url": _Kind(lambda random, _: f"example.org/{random.choice(_WORDS)}{random.randint(100, 999)}", len(_WORDS) * 900),
    "ip": _Kind(_ip, 3 * 254),
    "biometric": _Kind(lambda random, _: f"FP-{random.randrange(16**6):06X}", 16**6),
    "photo": _Kind(lambda random, _: f"IMG{_digits(random, 5)}", 10**5),
    "other": _Kind(lambda random, _: f"TR{_digits(random, 3)}-{_letters(random, 2)}", 10**3 * len(_LETTERS) ** 2),
}


def candidate_space(phi_class: str, language: str = "en") -> float:
    """Number of values that the class can take."""
    if phi_class == "name":
        first, last = _names(language_of(language))
        return float(len(first) * len(last))
    return float(_KINDS[phi_class].space)


class Identities:
    """Draws patients whose values are all different, from each other and from all drawn before.

    Two patients never share a value, and no value is part of another one, so that a value found in an answer is that
    patient's. The patients depend on ``keys`` and on the order in which they are drawn.
    """

    def __init__(self, *keys: Key) -> None:
        self._keys = keys
        self._taken: set[str] = set()

    def patient(self, number: int, language: str, phi_classes: Sequence[str]) -> Patient:
        """Patient ``number`` with the given identifiers; ``name`` comes first whether listed or not.

        Raises:
            UsageError: the candidates of a class are used up.
        """
        language = language_of(language)
        classes = ("name", *(phi_class for phi_class in phi_classes if phi_class != "name"))
        values = tuple(self._draw(number, language, phi_class) for phi_class in classes)
        return Patient(f"patient-{number:04d}", language, values)

    def _draw(self, number: int, language: str, phi_class: str) -> PrivateValue:
        random = rng(*self._keys, "patient", number, phi_class)
        make = _name if phi_class == "name" else _KINDS[phi_class].make
        for _ in range(_TRIES):
            value = make(random, language)
            if not self._collides(value):
                self._taken.add(value)
                return PrivateValue(phi_class, value, candidate_space(phi_class, language))
        raise UsageError(
            f"no unused '{phi_class}' is left among {candidate_space(phi_class, language):,.0f} candidates; plan fewer "
            f"patients or take '{phi_class}' out of benchmark.phi_classes"
        )

    def _collides(self, value: str) -> bool:
        return value in self._taken or any(value in other or other in value for other in self._taken)
