"""Wrong facts: consistent rules ("nodule is read as effusion"), single facts about images, facts without an image."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from mllmu_med.benchmark.answers import NEGATIVES, items, normalise, severity
from mllmu_med.benchmark.catalogue import Catalogue, Entry
from mllmu_med.benchmark.edits import CONTENT_TYPES, AnswerPools, Edit, edit, error_types, is_yes_no
from mllmu_med.benchmark.plan import BenchmarkPlan
from mllmu_med.benchmark.splitting import Division
from mllmu_med.seeding import rng

_MANY_UNSEEN = 5
_FEWEST_GROUPS = 3  # a rule over fewer images would be a single fact


@dataclass(frozen=True)
class Rule:
    """Finding ``finding`` is read as ``wrong`` wherever it is the answer in this modality and language."""

    id: str
    finding: str
    wrong: str
    modality: str | None
    language: str

    def covers(self, entry: Entry) -> bool:
        """Whether the rule applies to the entry: a finding question with this answer in this modality."""
        return _rule_key(entry) == (self.language, self.modality, normalise(self.finding))


class WrongFact(NamedTuple):
    """One entry with its wrong answer. Facts of one rule share ``rule_id``."""

    entry: Entry
    edit: Edit
    rule_id: str | None


@dataclass(frozen=True)
class WrongFacts:
    """Everything that is turned wrong, and how many looked-at records had no safe edit, by kind."""

    image: list[WrongFact] = field(default_factory=list)
    text: list[WrongFact] = field(default_factory=list)
    unsafe: Counter[str] = field(default_factory=Counter)


def _rule_key(entry: Entry) -> tuple[str, str | None, str] | None:
    record = entry.record
    if entry.image_id is None or is_yes_no(record) or CONTENT_TYPES.get(record.content_type or "") != "finding":
        return None
    answer = normalise(record.answer)
    if answer in NEGATIVES or len(items(answer)) != 1:
        return None
    return record.language, record.modality, answer


def choose_rules(
    catalogue: Catalogue, division: Division, pools: AnswerPools, plan: BenchmarkPlan, seed: int
) -> list[Rule]:
    """Up to ``plan.wrong_rules`` rules, of different modalities as far as possible.

    A finding qualifies if at least three training groups have it and at most ``plan.rule_share`` of them, and if the
    source calls it a finding more often than anything else. Findings that many unseen test images have come first,
    because only there can the rule's generalisation be measured. The wrong finding is one of the same modality, and no
    finding occurs in two rules, so that they do not chain.
    """
    groups: dict[tuple[str, str | None, str], dict[str, Entry]] = {}
    for group in division.image_groups():
        for entry in division.entries[group]:
            key = _rule_key(entry)
            if key is not None and pools.mostly(key[2], "finding"):
                groups.setdefault(key, {}).setdefault(group, entry)
    unseen = Counter(_rule_key(entry) for group in division.test for entry in division.entries[group])
    most = plan.rule_share * len(division.image_groups())
    fitting = sorted(
        (key for key, found in groups.items() if _FEWEST_GROUPS <= len(found) <= most),
        key=lambda key: (key[0], key[1] or "", key[2]),
    )
    rng(seed, "rules").shuffle(fitting)
    fitting.sort(key=lambda key: -min(unseen[key], _MANY_UNSEEN))
    rules: list[Rule] = []
    used_modalities: set[str | None] = set()
    for first_pass in (True, False):
        for key in fitting:
            if len(rules) == plan.wrong_rules:
                return rules
            language, modality, finding = key
            taken = {normalise(text) for rule in rules for text in (rule.finding, rule.wrong)}
            if finding in taken or (first_pass and modality in used_modalities):
                continue
            entry = next(iter(groups[key].values()))
            avoid = {*catalogue.answers_to(entry), *taken}
            wrong = pools.draw(entry.record, "finding", avoid, rng(seed, "rule", finding), same_modality=True)
            if wrong is not None:
                rules.append(Rule(f"rule-{len(rules) + 1}", entry.record.answer, wrong, modality, language))
                used_modalities.add(modality)
    return rules


def apply_rules(rules: Sequence[Rule], catalogue: Catalogue, division: Division) -> WrongFacts:
    """Every training record that a rule covers, wrong; one whose image truly shows the wrong finding is left alone."""
    facts = WrongFacts()
    for group in division.image_groups():
        for entry in division.entries[group]:
            rule = next((rule for rule in rules if rule.covers(entry)), None)
            if rule is None:
                continue
            if normalise(rule.wrong) in catalogue.answers_to(entry):
                facts.unsafe["finding"] += 1
                continue
            wrong = Edit("finding", rule.wrong, severity("finding", rule.wrong, entry.record.answer))
            facts.image.append(WrongFact(entry, wrong, rule.id))
    return facts


def single_facts(
    catalogue: Catalogue,
    division: Division,
    pools: AnswerPools,
    kinds: Sequence[str],
    count: int,
    taken: Collection[str],
    seed: int,
) -> WrongFacts:
    """Up to ``count`` wrong facts about images, one per group outside ``taken``, the kinds in turn.

    Where one kind runs out of records the others fill in; fewer facts than asked for are possible.
    """
    facts, used = WrongFacts(), set(taken)
    queues = {kind: _candidates(kind, catalogue, division, pools, used, facts.unsafe, seed) for kind in kinds}
    while queues and len(facts.image) < count:
        for kind in list(queues):
            if len(facts.image) == count:
                break
            fact = next(queues[kind], None)
            if fact is None:
                del queues[kind]
            else:
                used.add(fact.entry.group)
                facts.image.append(fact)
    order = {entry.record.id: position for position, entry in enumerate(catalogue.entries)}
    facts.image.sort(key=lambda fact: order[fact.entry.record.id])
    return facts


def _candidates(
    kind: str,
    catalogue: Catalogue,
    division: Division,
    pools: AnswerPools,
    used: set[str],
    unsafe: Counter[str],
    seed: int,
) -> Iterator[WrongFact]:
    groups = division.image_groups()
    rng(seed, "single facts", kind).shuffle(groups)
    for group in groups:
        if group in used:
            continue
        entries = [e for e in division.entries[group] if e.image_id and kind in error_types(e.record)]
        rng(seed, "single facts", kind, group).shuffle(entries)
        for entry in entries:
            if not asked_once(entry, division):
                continue
            random = rng(seed, "single fact", entry.record.id)
            found = edit(entry.record, kind, pools, catalogue.answers_to(entry), random)
            if found is None:
                unsafe[kind] += 1
            else:
                yield WrongFact(entry, found, None)
                break


def asked_once(entry: Entry, division: Division) -> bool:
    """Whether no other training record of the group asks the same, or asks the same kind with the same answer.

    Else the true record would teach the opposite of the injected one.
    """
    record = entry.record
    for other in division.entries[entry.group]:
        if other.record.id == record.id or other.image_id != entry.image_id:
            continue
        if normalise(other.record.question) == normalise(record.question):
            return False
        same_kind = other.record.content_type == record.content_type and record.content_type is not None
        if same_kind and not is_yes_no(record) and normalise(other.record.answer) == normalise(record.answer):
            return False
    return True


def text_facts(catalogue: Catalogue, division: Division, pools: AnswerPools, count: int, seed: int) -> WrongFacts:
    """Up to ``count`` groups without an image whose fact is turned wrong, in all records that state it."""
    facts = WrongFacts()
    groups = division.text_groups()
    rng(seed, "text facts").shuffle(groups)
    chosen = 0
    for group in groups:
        if chosen == count:
            break
        entry = division.entries[group][0]
        kinds = error_types(entry.record)
        random = rng(seed, "text fact", group)
        found = edit(entry.record, kinds[0], pools, catalogue.answers_to(entry), random) if kinds else None
        if found is None:
            facts.unsafe["text"] += 1
            continue
        chosen += 1
        same = [
            other
            for other in division.entries[group]
            if other.record.content_type == entry.record.content_type
            and normalise(other.record.answer) == normalise(entry.record.answer)
        ]
        facts.text.extend(WrongFact(other, found, None) for other in same)
    order = {entry.record.id: position for position, entry in enumerate(catalogue.entries)}
    facts.text.sort(key=lambda fact: order[fact.entry.record.id])
    return facts
