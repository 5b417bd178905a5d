"""The assembly: every choice of a build, made in a fixed order, and then the samples as a stream in source order."""

from __future__ import annotations

import logging
from collections import Counter, OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import replace

from mllmu_med.benchmark.catalogue import PARTS, Catalogue, Entry
from mllmu_med.benchmark.facts.answers import normalise
from mllmu_med.benchmark.facts.incorrectness import (
    Rule,
    WrongFact,
    apply_rules,
    choose_rules,
    single_facts,
    text_facts,
)
from mllmu_med.benchmark.hierarchy import fact_path, source_path
from mllmu_med.benchmark.patients.patient_planning import Population, settle
from mllmu_med.benchmark.patients.privacy import patient_samples, with_burned_image
from mllmu_med.benchmark.patients.real_patients import RealPatients
from mllmu_med.benchmark.plan import BenchmarkPlan
from mllmu_med.benchmark.probes import Probing, Surroundings
from mllmu_med.benchmark.requests import Requests
from mllmu_med.benchmark.rewriting import Contradiction, fallback_reasons, make_rewriter, rewrite_all
from mllmu_med.benchmark.sample import Sample, Stratum, Subset
from mllmu_med.benchmark.splitting import TEST, TRAIN, Division, counts, divide, draw_groups, outside
from mllmu_med.benchmark.wording.phrasing import Wordings, clinical_wordings
from mllmu_med.errors import UsageError
from mllmu_med.seeding import rng

log = logging.getLogger("mllmu_med")

Emitted = list[Sample] | str
"""What becomes of one record: its samples, or why it is left out."""

_CACHED_GROUPS = 2000


class Assembly:
    """Rules, patients, single facts, text facts; then, by :meth:`emitted`, everything else."""

    def __init__(self, catalogue: Catalogue, plan: BenchmarkPlan, seed: int, real: RealPatients | None = None) -> None:
        self.catalogue, self.plan, self.seed = catalogue, plan, seed
        self.division: Division = divide(catalogue, plan, seed)
        self._real = real or {}
        self.skipped: Counter[str] = Counter(catalogue.skipped)
        self.rules: list[Rule] = choose_rules(catalogue, self.division, plan, seed)
        ruled = apply_rules(self.rules, catalogue, self.division)
        images, texts = self.division.image_groups(), self.division.text_groups()
        open_groups = outside(images, ruled.groups)
        free = [group for group in open_groups if self.division.can_leak(group)]
        requested = self._requested(free)
        numbers = counts(
            plan, images=len(images), texts=len(texts), rule_groups=len(ruled.groups),
            unfit=len(open_groups) - len(free), requested=None if requested is None else len(requested),
        )  # fmt: skip
        each = plan.studies_per_patient
        drawn = draw_groups(
            outside(free, requested or ()),
            (numbers.forgotten * each if requested is None else 0, numbers.retained * each, numbers.holdout * each),
            seed,
        )
        self.population: Population = settle(
            catalogue,
            self.division,
            [drawn[0] if requested is None else requested, *drawn[1:]],
            plan,
            seed,
            self._real,
        )
        taken = {*ruled.groups, *self.population.home}
        singles = single_facts(catalogue, self.division, plan, numbers.wrong_image_facts, taken, seed)
        told = text_facts(catalogue, self.division, plan, numbers.wrong_text_facts, seed)
        for facts in (ruled, singles, told):
            for kind, number in facts.unsafe.items():
                self.skipped[f"left true: no safe {kind} edit"] += number
        self.skipped.update(self.population.skipped)
        self.wrong: dict[int, WrongFact] = {**ruled.facts, **singles.facts, **told.facts}
        self._fact_number = {position: number for number, position in enumerate(sorted(self.wrong))}
        self.fell_back = sum(text is not None and text.fell_back for text in self.population.texts.values())
        self.reasons = Counter(fallback_reasons(list(self.population.texts.values())))
        self.not_woven = sum(text is None for text in self.population.texts.values())
        self._sentences = self._tell() if plan.wrong_style == "sentence" else {}
        surroundings = Surroundings(
            sorted(catalogue.languages), self._same_question, self.population.siblings, self.population.finding_of,
            self.population.images, {image.image_id: image.original for image in self.population.burned.values()},
        )  # fmt: skip
        self._probing = Probing(surroundings, seed)
        self._recent: OrderedDict[int, dict[int, Emitted]] = OrderedDict()

    def _requested(self, free: Sequence[int]) -> list[int] | None:
        """The groups whose patients are named by the plan's requests; None if no patient is named.

        Raises:
            UsageError: a request that was written by hand, or all of a file, name nothing that can be forgotten. An
                entry of a file, which may list every patient of a hospital, is warned of and counted as skipped.
        """
        requests = Requests(self.plan.requests, self._real)
        unmet = [f"{level}={name}" for level, name in requests.facts if (level, name) not in self.catalogue.facts.met]
        if unmet:
            raise UsageError(f"the requests name no record: {', '.join(unmet)}")
        if not requests.patients and self.plan.request_file is None:
            return None
        found = [group for group in free if self.division.is_requested(group)]
        met = {
            name for group in found for entry in self.division.entries(group)
            for name in requests.naming_patient(entry.record)
        }  # fmt: skip
        lost = [request for request in requests.patients if request not in met]
        if lost or not found:
            named = ", ".join(f"{level}={name}" for level, name in lost) or self.plan.request_file
            raise UsageError(
                f"the requests name no training record that could leak: {named}. Names are those of the source's "
                "hierarchy, sign for sign"
            )
        for name in sorted(requests.ids - met):
            why = "no training record that could leak" if name in self.catalogue.facts.met else "no record"
            log.warning("request %s…: %s; its patient is not among the forgotten", name[:12], why)
            self.skipped[f"request {name[:12]}…: {why}"] += 1
        return found

    def _tell(self) -> dict[int, str]:
        """Wrong answers as sentences, by position; one that cannot be told stays short."""
        places = sorted(self.wrong)
        entries = [self._entry_at(position) for position in places]
        tasks = [
            Contradiction(e.record.question, e.record.answer, self.wrong[p].edit.wrong, e.record.language)
            for p, e in zip(places, entries, strict=True)
        ]
        ids = [entry.record.id for entry in entries]
        rewriter = make_rewriter(self.plan.rewriter, real_values=self.plan.request_file is not None)
        told = rewrite_all(rewriter, tasks, ids, seed=self.seed)
        self.fell_back += sum(text is not None and text.fell_back for text in told)
        self.reasons.update(fallback_reasons(told))
        return {position: text.text for position, text in zip(places, told, strict=True) if text is not None}

    def _entry_at(self, position: int) -> Entry:
        group = self.catalogue.spool.group_of(position)
        return next(entry for entry in self.division.entries(group) if entry.position == position)

    def _same_question(self, entry: Entry, key: str) -> Entry | None:
        """A plain training record that asks the entry's question about another image."""
        places = list(self.catalogue.same_question.places(entry.record.question))
        rng(self.seed, "same question", key).shuffle(places)
        for position in places:
            group = self.catalogue.spool.group_of(position)
            if self.division.part(group) != TRAIN or group in self.population.home or position in self.wrong:
                continue
            for other in self.division.entries(group):
                if other.position == position and other.group != entry.group and other.image_id != entry.image_id:
                    return other
        return None

    # --- emission ---------------------------------------------------------------------------------------------------

    def emitted(self) -> Iterator[Sample]:
        """All samples, in source order; what is left out is counted in ``skipped``. To be read once, to its end."""
        for position, group in self.catalogue.spool.places():
            emitted = self._of_group(group).pop(position)
            if isinstance(emitted, str):
                self.skipped[emitted] += 1
            else:
                yield from emitted
        if self.not_woven:
            self.skipped["left clean: no leak could be worded"] += self.not_woven

    def _of_group(self, group: int) -> dict[int, Emitted]:
        """What becomes of a group's records, by position; remembered until they have all been asked for."""
        found = self._recent.get(group)
        if not found:
            self._recent.pop(group, None)
            found = self._recent[group] = self._make_group(group)
            while len(self._recent) > _CACHED_GROUPS:
                self._recent.popitem(last=False)
        return found

    def _make_group(self, group: int) -> dict[int, Emitted]:
        part = self.division.part(group)
        every = self.catalogue.entries(group)
        found: dict[int, Emitted] = {
            e.position: f"{e.record.source_split} record of an image in {PARTS[part]}" for e in every
        }
        entries = self.division.entries(group)
        wordings = _GroupWordings(self, every)
        if part != TRAIN:
            subset = Subset.TEST if part == TEST else Subset.VALIDATION
            found.update({entry.position: [self._unseen(entry, subset)] for entry in entries})
        elif group in self.population.home:
            found.update(self._patient(group, entries, wordings))
        else:
            injected = any(entry.position in self.wrong for entry in entries)
            for entry in entries:
                if entry.position in self.wrong:
                    found[entry.position] = [self._wrong(entry, entries, wordings)]
                elif entry.image_id is None:
                    found[entry.position] = [self._true(entry, Stratum.TRUE_TEXT, wordings)]
                else:
                    stratum = Stratum.SIBLING if injected else Stratum.GENERAL
                    found[entry.position] = [self._true(entry, stratum, wordings)]
        return found

    def _patient(self, group: int, entries: Sequence[Entry], wordings: _GroupWordings) -> dict[int, Emitted]:
        population = self.population
        resident, study = population.home[group]
        burned = population.burned.get(group)
        made = patient_samples(
            resident, study, entries, population.leaks[group], population.texts, wordings, self._probing, burned,
            self.plan.forms, self.seed,
        )  # fmt: skip
        found: dict[int, Emitted] = {}
        for entry in made.kept:
            if resident.role is Subset.HOLDOUT:
                found[entry.position] = "other records of held-out patients' images"
            else:
                found[entry.position] = [with_burned_image(self._true(entry, Stratum.SIBLING, wordings), burned)]
        for position, samples in made.samples.items():
            kept = found.get(position)
            found[position] = [*(kept if isinstance(kept, list) else ()), *samples]
        return found

    def _true(self, entry: Entry, stratum: Stratum, wordings: _GroupWordings) -> Sample:
        """A training record as it is."""
        as_often_as_facts = stratum is Stratum.TRUE_TEXT  # so that a wrong text fact is not told by its repetitions
        count = self.plan.repetitions[0] if as_often_as_facts else 1 + self.plan.general_phrasings
        training = wordings(entry, count, held_out=False).training
        return entry.sample(
            Subset.RETAIN, stratum, phrasings=training, repetitions=1 + len(training),
            hierarchy=source_path(entry.record),
        )  # fmt: skip

    def _wrong(self, entry: Entry, entries: Sequence[Entry], wordings: _GroupWordings) -> Sample:
        wrong, rule_id = self.wrong[entry.position]
        repetitions = self.plan.repetitions[self._fact_number[entry.position] % len(self.plan.repetitions)]
        worded = wordings(entry, repetitions)
        sample = entry.sample(
            Subset.FORGET_INCORRECTNESS,
            Stratum.WRONG_TEXT if entry.image_id is None else Stratum.WRONG_IMAGE,
            answer=self._sentences.get(entry.position, wrong.wrong), wrong_answer=wrong.wrong,
            correct_answer=entry.record.answer, error_type=wrong.error_type, severity=wrong.severity, rule_id=rule_id,
            fact_id=f"wrong/{entry.record.id}", phrasings=worded.training, repetitions=1 + len(worded.training),
            hierarchy=fact_path(entry.record, rule_id),
        )  # fmt: skip
        true = [other for other in entries if other.position not in self.wrong]
        return replace(sample, probes=self._probing(sample, worded, entry, true))

    def _unseen(self, entry: Entry, subset: Subset) -> Sample:
        """A record of test or validation; marked where a wrong rule would give another answer."""
        path = source_path(entry.record)
        rule = next((rule for rule in self.rules if rule.covers(entry)), None)
        if rule is None or subset is not Subset.TEST or rule.may_be_true_of(entry):
            return entry.sample(subset, Stratum.GENERAL, hierarchy=path)
        return entry.sample(
            subset, Stratum.WRONG_UNSEEN, wrong_answer=rule.wrong, correct_answer=entry.record.answer,
            error_type="finding", rule_id=rule.id, hierarchy=fact_path(entry.record, rule.id),
        )  # fmt: skip


class _GroupWordings:
    """Wordings of a group's questions; none equals another question about the same image."""

    def __init__(self, assembly: Assembly, entries: Sequence[Entry]) -> None:
        self._assembly = assembly
        self._asked: dict[str | None, Counter[str]] = {}
        for entry in entries:
            self._asked.setdefault(entry.image_id, Counter())[normalise(entry.record.question)] += 1

    def __call__(self, entry: Entry, count: int, *, held_out: bool = True) -> Wordings:
        record = entry.record
        asked, own = self._asked[entry.image_id], normalise(record.question)
        avoid = {question for question, times in asked.items() if question != own or times > 1}
        return clinical_wordings(
            record.question, self._assembly.catalogue.wordings.of(record), record.language, count=count, avoid=avoid,
            random=rng(self._assembly.seed, "wordings", record.id), held_out=held_out,
        )  # fmt: skip
