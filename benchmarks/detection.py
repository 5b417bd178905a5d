"""How well private values are found in answers: recall on planted values, and false positives.

    python benchmarks/detection.py                         some 30,000 planted values of all classes
    python benchmarks/detection.py --patients 1000 --json FILE
    python benchmarks/detection.py --slake data/Slake1.0   clean answers of SLAKE too

Patients of eight countries, in English, Chinese and Japanese texts, get a value of every class. Each value is written
into answers in many ways (``planting.py``, which shares nothing with the detection). Reported per class:

- recall: planted values that are told, exactly (written as they are) and in normalised form (written otherwise);
- other: other patients' values of the same class, written in all these ways, that are taken for this patient's;
- near: this patient's values with a mistake in them that are taken for right, in normalised form;
- fuzzy: mistakes within the class's tolerance that the fuzzy level finds, and other patients' values that it mistakes;
- clean: answers that hold no private value in which one is found.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

if not __package__:
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.planting import CODES, day_of, planted, writings
from mllmu_med.benchmark.identities import Identities
from mllmu_med.benchmark.identities.classes import CLASSES, LOCALES
from mllmu_med.evaluation.private.detection import Match, detect
from mllmu_med.evaluation.spans import tells
from mllmu_med.seeding import rng

LANGUAGES = ("en", "en", "en", "zh", "ja")
"""Of the patients' texts, in turn."""
SHOWN = 15


class Value(NamedTuple):
    """A value of a patient."""

    owner: str
    phi_class: str
    locale: str
    language: str
    text: str


@dataclass
class Tally:
    """Counts of one class."""

    seen: Counter[str] = field(default_factory=Counter)
    hits: Counter[str] = field(default_factory=Counter)

    def add(self, what: str, hit: bool) -> None:
        """One more trial."""
        self.seen[what] += 1
        self.hits[what] += hit

    def share(self, what: str) -> float | None:
        """Hits per trial."""
        return self.hits[what] / self.seen[what] if self.seen[what] else None


COLUMNS = ("exact", "normalised", "other", "near", "fuzzy", "fuzzy_other")


def values(patients: int, seed: int) -> list[Value]:
    """A value of every class for each patient, all different; one patient in five with the plain formats."""
    found = []
    for varied in (True, False):
        identities = Identities(seed, "detection", str(varied), locales=LOCALES, varied=varied)
        for number in range(patients if varied else patients // 4):
            language = LANGUAGES[number % len(LANGUAGES)]
            one = identities.patient(number, language, CLASSES)
            locale = one.locale if varied else "en_US"
            owner = f"{varied}-{one.id}"
            found += [Value(owner, value.phi_class, locale, language, value.value) for value in one.values]
    return found


def mistakes(value: Value, random: Random) -> Iterator[tuple[str, bool]]:
    """Texts that are nearly the value, and whether the class's tolerance covers the mistake."""
    text, kind = value.text, value.phi_class
    digits = [place for place, sign in enumerate(text) if sign.isdigit()]
    letters = [place for place, sign in enumerate(text) if sign.isascii() and sign.isalpha()]
    enough = sum(sign.isalnum() for sign in text)
    coded = kind in CODES or kind in ("phone", "fax")
    if kind in ("date", "admission"):
        day, clock = day_of(text)
        wrong = day + timedelta(days=random.choice((-1, 1, 30)))
        if (wrong.day, wrong.month) != (day.month, day.day):  # 03/04 can be read both ways
            yield f"{wrong} {clock}".strip(), False
        return
    if digits:
        place = random.choice(digits)
        changed = text[:place] + str((int(text[place]) + random.randrange(1, 10)) % 10) + text[place + 1 :]
        yield changed, coded and enough >= 7
        last = digits[-1]
        if not text[last + 1 :].strip().startswith(tuple("abcdefABCDEF")):
            longer = text[: last + 1] + random.choice("123456789") + text[last + 1 :]
            yield longer, coded and enough >= 7
    if kind in ("name", "physician", "facility") and text.isascii():
        name = re.sub(r"^(Prof\. )?(Dr\.|Docteur) |, (MD|FRCR)$", "", text)
        inside = range(text.index(name) + 1, text.index(name) + len(name))
        place = random.choice([at for at in letters if at in inside and text[at - 1].isalpha()])
        other = random.choice([sign for sign in "aeiourstn" if sign != text[place].lower()])
        yield text[:place] + other + text[place + 1 :], len(letters) >= 16
    if kind in ("name", "physician"):
        words = text.replace(",", "").split()
        if len(words) == 2 and text.isascii():
            yield words[0], False
            yield words[1], False


@dataclass
class Measured:
    """What planting showed: tallies by class, trials and misses by (class, rule), and examples of mistakes by kind."""

    tallies: defaultdict[str, Tally] = field(default_factory=lambda: defaultdict(Tally))
    tried: Counter[tuple[str, str]] = field(default_factory=Counter)
    missed: Counter[tuple[str, str]] = field(default_factory=Counter)
    examples: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))


def measure(chosen: Sequence[Value], per_value: int, seed: int) -> Measured:
    """Plant every value ``per_value`` times, the first time as it is written."""
    result = Measured()
    tried, missed, examples = result.tried, result.missed, result.examples
    by_class: defaultdict[str, list[Value]] = defaultdict(list)
    for value in chosen:
        by_class[value.phi_class].append(value)
    for value in chosen:
        random = rng(seed, "planting", value.owner, value.phi_class)
        tally = result.tallies[value.phi_class]
        ways = writings(value.text, value.phi_class, value.locale, random)
        for way in [ways[0], *random.sample(ways[1:], min(per_value - 1, len(ways) - 1))]:
            answer = planted(way.text, value.language, random)
            found = tells(answer, value.text)
            tally.add("exact" if way.rule == "verbatim" else "normalised", found)
            tried[value.phi_class, way.rule] += 1
            if not found:
                missed[value.phi_class, way.rule] += 1
                examples["missed"].append(f"{value.phi_class}: {value.text!r} as {way.rule}: {answer!r}")
            others = by_class[value.phi_class]
            other = random.choice(others)
            while other.owner == value.owner:
                other = random.choice(others)
            hit = detect(answer, other.text, value.phi_class).match
            tally.add("other", hit in (Match.EXACT, Match.NORMALISED))
            tally.add("fuzzy_other", hit is not None)
            if hit in (Match.EXACT, Match.NORMALISED):
                examples["other"].append(f"{other.phi_class}: {other.text!r} found in {answer!r}")
        for text, tolerated in mistakes(value, random):
            answer = planted(text, value.language, random)
            hit = detect(answer, value.text, value.phi_class).match
            tally.add("near", hit in (Match.EXACT, Match.NORMALISED))
            if hit in (Match.EXACT, Match.NORMALISED):
                examples["near"].append(f"{value.phi_class}: {value.text!r} found in {answer!r}")
            if tolerated:
                tally.add("fuzzy", hit is Match.FUZZY)
                if hit is not Match.FUZZY:
                    examples["fuzzy"].append(f"{value.phi_class}: {value.text!r} in {answer!r}: {hit}")
    return result


def clean_answers(slake: Path | None) -> dict[str, list[str]]:
    """Source → its different answers and questions, none with a private value in it."""
    from mllmu_med.sources.phantom import PhantomSource

    texts = {"phantom": {text for record in PhantomSource().records() for text in (record.answer, record.question)}}
    if slake is not None:
        rows = [
            row
            for name in ("train", "validate", "test")
            for row in json.loads((slake / f"{name}.json").read_text("utf-8"))
        ]
        texts["slake"] = {str(row[key]) for row in rows for key in ("answer", "question")}
    return {name: sorted(found) for name, found in texts.items()}


def clean_hits(answers: Iterable[str], chosen: Sequence[Value], seed: int) -> tuple[int, list[str]]:
    """Answers in which any value of a patient, drawn anew for every answer, is found; and the finds."""
    by_owner: defaultdict[str, list[Value]] = defaultdict(list)
    for value in chosen:
        by_owner[value.owner].append(value)
    owners = sorted(by_owner)
    random = rng(seed, "clean")
    hits, finds = 0, []
    for answer in answers:
        found = [value for value in by_owner[random.choice(owners)] if tells(answer, value.text)]
        hits += bool(found)
        finds += [f"{value.phi_class}: {value.text!r} in {answer!r}" for value in found]
    return hits, finds


def speed(chosen: Sequence[Value], answers: Sequence[str], outputs: int, seed: int) -> float:
    """Seconds for two values each in ``outputs`` different answers, nothing cached."""
    random = rng(seed, "speed")
    trials = [
        (f"{random.choice(answers)} {number}; {planted(value.text, value.language, random)}", value.text)
        for number, value in ((number, random.choice(chosen)) for number in range(outputs))
    ]
    began = time.process_time()
    for answer, value in trials:
        tells(answer, value)
        tells(answer, chosen[0].text)
    return time.process_time() - began


def total(tallies: Iterable[Tally]) -> Tally:
    """All classes together."""
    whole = Tally()
    for tally in tallies:
        whole.seen += tally.seen
        whole.hits += tally.hits
    return whole


def row(name: str, tally: Tally) -> dict[str, Any]:
    """A line of the table."""
    return {
        "class": name,
        "planted": tally.seen["exact"] + tally.seen["normalised"],
        **{c: tally.share(c) for c in COLUMNS},
    }


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patients", type=int, default=200, help="with varied formats; a quarter more with plain ones")
    parser.add_argument("--writings", type=int, default=6, help="ways in which each value is written")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--slake", type=Path, help="folder of SLAKE's train.json, validate.json, test.json")
    parser.add_argument("--rules", action="store_true", help="also recall by class and rule, and examples of mistakes")
    parser.add_argument("--json", type=Path, help="also write the numbers here")
    options = parser.parse_args()
    chosen = values(options.patients, options.seed)
    answers = clean_answers(options.slake)
    seconds = speed(chosen, [text for texts in answers.values() for text in texts], 3000, options.seed)
    measured = measure(chosen, options.writings, options.seed)
    tallies, tried, missed, examples = measured.tallies, measured.tried, measured.missed, measured.examples
    rows = [row(name, tallies[name]) for name in CLASSES] + [row("all", total(tallies.values()))]
    print(f"{'class':12} {'planted':>8} " + " ".join(f"{name:>11}" for name in COLUMNS))
    for line in rows:
        shares = ("" if line[name] is None else f"{line[name]:.4f}" for name in COLUMNS)
        print(f"{line['class']:12} {line['planted']:8,} " + " ".join(f"{share:>11}" for share in shares))
    clean = []
    for name, texts in answers.items():
        hits, finds = clean_hits(texts, chosen, options.seed)
        examples["clean"] += finds
        clean.append({"source": name, "texts": len(texts), "hits": hits, "share": hits / len(texts)})
        against = f"{len(texts):,}, each against {len(CLASSES)} values"
        print(f"clean texts of {name}: {against}; a value found in {hits} ({hits / len(texts):.5f})")
    print(f"two values each in 3,000 answers: {seconds:.2f} s")
    if options.rules:
        for (phi_class, rule), count in sorted(tried.items()):
            found = count - missed[phi_class, rule]
            print(f"{phi_class:12} {rule:32} {found:6,} of {count:6,}" + ("" if found == count else "  <"))
        for kind, texts in examples.items():
            print(f"\n{kind}: {len(texts):,}")
            print("\n".join(texts[:SHOWN]))
    if options.json:
        result = {
            "seed": options.seed,
            "rows": rows,
            "clean": clean,
            "seconds_for_3000": seconds,
            "misses": {f"{phi_class}/{rule}": count for (phi_class, rule), count in sorted(missed.items())},
        }
        options.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
