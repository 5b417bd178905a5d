"""The builder: from a source and a plan to a finished benchmark folder."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mllmu_med import __version__
from mllmu_med.benchmark.answers import normalise
from mllmu_med.benchmark.card import dataset_card
from mllmu_med.benchmark.catalogue import Catalogue, Entry, read_catalogue
from mllmu_med.benchmark.edits import AnswerPools
from mllmu_med.benchmark.incorrectness import (
    Rule,
    WrongFact,
    WrongFacts,
    apply_rules,
    choose_rules,
    single_facts,
    text_facts,
)
from mllmu_med.benchmark.ledger import ledger_rows
from mllmu_med.benchmark.patients import Identities
from mllmu_med.benchmark.phrasing import Wordings, clinical_wordings
from mllmu_med.benchmark.plan import BenchmarkPlan
from mllmu_med.benchmark.privacy import can_hold_patient, patient_records, rotated_classes
from mllmu_med.benchmark.probes import probes
from mllmu_med.benchmark.rewriting import REWRITERS
from mllmu_med.benchmark.sample import Sample, Stratum, Subset
from mllmu_med.benchmark.splitting import Division, counts, divide, patient_groups
from mllmu_med.benchmark.store import FORMAT, Benchmark, write_images, write_ledger, write_samples
from mllmu_med.folders import staged
from mllmu_med.progress import bar
from mllmu_med.seeding import rng
from mllmu_med.sources.images import EncodedImage
from mllmu_med.sources.record import Source

_PATIENT_SUBSETS = (Subset.FORGET_PRIVACY, Subset.RETAIN, Subset.HOLDOUT)


def build_benchmark(source: Source, plan: BenchmarkPlan, target: Path, *, seed: int) -> Benchmark:
    """Build the benchmark and return it opened. The folder appears whole or not at all.

    The source is streamed once; every image is read twice (to hash it, and to store it) and never kept.

    Raises:
        DataError: the source cannot be used; names file, record and mend.
        UsageError: the plan does not fit the source; says which number to change.
    """
    catalogue = read_catalogue(source)
    assembly = _Assembly(catalogue, plan, seed)
    samples = assembly.samples()
    manifest: dict[str, Any] = {
        "format": FORMAT,
        "package": __version__,
        "source": {"name": source.name, "fingerprint": source.fingerprint()},
        "plan": plan.as_dict(),
        "seed": seed,
        **assembly.report(samples),
    }
    with staged(target, manifest) as stage:
        write_samples(stage, samples)
        write_ledger(stage, ledger_rows(samples))
        manifest["images"] = write_images(stage, _images(samples, catalogue))
        (stage / "README.md").write_text(dataset_card(manifest), encoding="utf-8")
    return Benchmark.open(target)


def _images(samples: Sequence[Sample], catalogue: Catalogue) -> Iterator[EncodedImage]:
    """The images in order of first use, read again from the source."""
    used = list(dict.fromkeys(sample.image_id for sample in samples if sample.image_id is not None))
    with bar("Writing images", len(used)) as progress:
        for image_id in used:
            yield catalogue.images.take(image_id)
            progress.advance()


class _Assembly:
    """All decisions of one build, made in a fixed order: rules, patients, single facts, text facts, the rest."""

    def __init__(self, catalogue: Catalogue, plan: BenchmarkPlan, seed: int) -> None:
        self.catalogue, self.plan, self.seed = catalogue, plan, seed
        self.division: Division = divide(catalogue, plan, seed)
        self.skipped = catalogue.skipped + self.division.skipped
        self.rewriter = REWRITERS.get(plan.rewriter)()
        self.fell_back = 0
        pools = AnswerPools(catalogue.entries)
        self.rules: list[Rule] = choose_rules(catalogue, self.division, pools, plan, seed)
        ruled = apply_rules(self.rules, catalogue, self.division)
        rule_groups = {
            group
            for group in self.division.image_groups()
            if any(rule.covers(entry) for rule in self.rules for entry in self.division.entries[group])
        }
        images = [group for group in self.division.image_groups() if group not in rule_groups]
        unfit = {group for group in images if not can_hold_patient(self.division.entries[group])}
        numbers = counts(plan, self.division, len(rule_groups), len(unfit))
        self.patients = dict(
            zip(
                _PATIENT_SUBSETS,
                patient_groups(
                    self.division,
                    rule_groups | unfit,
                    (numbers.forgotten, numbers.retained, numbers.holdout),
                    seed,
                ),
                strict=True,
            )
        )
        taken = rule_groups | {group for groups in self.patients.values() for group in groups}
        singles = single_facts(
            catalogue, self.division, pools, plan.error_types, numbers.wrong_image_facts, taken, seed
        )
        texts = text_facts(catalogue, self.division, pools, numbers.wrong_text_facts, seed)
        self._count_unsafe(ruled, singles, texts)
        self.wrong: dict[str, WrongFact] = {
            fact.entry.record.id: fact for fact in (*ruled.image, *singles.image, *texts.text)
        }

    def _count_unsafe(self, *found: WrongFacts) -> None:
        for facts in found:
            for kind, number in facts.unsafe.items():
                self.skipped[f"left true: no safe {kind} edit"] += number

    def samples(self) -> list[Sample]:
        """All samples: forget, retain, test, validation, holdout; each subset in source order."""
        patient_of = {group: subset for subset, groups in self.patients.items() for group in groups}
        number_in_role: Counter[Subset] = Counter()
        identities = Identities(self.seed)
        found: list[Sample] = []
        facts = 0
        for number, group in enumerate((g for g in self.division.training if g in patient_of), start=1):
            subset = patient_of[group]
            entries = self.division.entries[group]
            index = number_in_role[subset]
            number_in_role[subset] += 1
            repetitions = self.plan.repetitions[index % len(self.plan.repetitions)]
            patient = identities.patient(number, entries[0].record.language, rotated_classes(self.plan, index))
            wordings = {entry.record.id: self._wordings(entry, repetitions) for entry in entries}
            made = patient_records(
                patient, entries, self.division, subset, self.plan, self.rewriter, wordings, repetitions, self.seed
            )
            self.fell_back += made.fell_back
            if made.not_woven:
                self.skipped["left clean: no leak could be worded"] += made.not_woven
            found += made.samples
            if subset is Subset.HOLDOUT:
                self.skipped["other records of held-out patients' images"] += len(made.others)
            else:
                found += [self._true(entry, Stratum.SIBLING) for entry in made.others]
        for group in self.division.training:
            if group in patient_of:
                continue
            entries = self.division.entries[group]
            injected = any(entry.record.id in self.wrong for entry in entries)
            for entry in entries:
                if entry.record.id in self.wrong:
                    repetitions = self.plan.repetitions[facts % len(self.plan.repetitions)]
                    facts += 1
                    found.append(self._wrong(self.wrong[entry.record.id], repetitions))
                elif entry.image_id is None:
                    found.append(self._true(entry, Stratum.TRUE_TEXT))
                else:
                    found.append(self._true(entry, Stratum.SIBLING if injected else Stratum.GENERAL))
        for subset, groups in ((Subset.TEST, self.division.test), (Subset.VALIDATION, self.division.validation)):
            found += [self._unseen(entry, subset) for group in groups for entry in self.division.entries[group]]
        order = {entry.record.id: position for position, entry in enumerate(self.catalogue.entries)}
        subsets = list(Subset)
        found.sort(key=lambda sample: (subsets.index(sample.subset), order[sample.record_id]))  # stable
        return found

    def _wordings(self, entry: Entry, count: int) -> Wordings:
        record = entry.record
        same_image = (e for e in self.catalogue.groups[entry.group] if e.image_id == entry.image_id)
        avoid = {normalise(e.record.question) for e in same_image if e.record.id != record.id}
        return clinical_wordings(
            record.question, self.catalogue.wordings.of(record), record.language,
            count=count, avoid=avoid, random=rng(self.seed, "wordings", record.id),
        )  # fmt: skip

    def _true(self, entry: Entry, stratum: Stratum) -> Sample:
        """A training record as it is."""
        as_often_as_facts = stratum is Stratum.TRUE_TEXT  # so that a wrong text fact is not told by its repetitions
        count = self.plan.repetitions[0] if as_often_as_facts else 1 + self.plan.general_phrasings
        training = self._wordings(entry, count).training
        return entry.sample(Subset.RETAIN, stratum, phrasings=training, repetitions=1 + len(training))

    def _wrong(self, fact: WrongFact, repetitions: int) -> Sample:
        entry, change = fact.entry, fact.edit
        wordings = self._wordings(entry, repetitions)
        has_image = entry.image_id is not None
        return entry.sample(
            Subset.FORGET_INCORRECTNESS,
            Stratum.WRONG_IMAGE if has_image else Stratum.WRONG_TEXT,
            answer=change.wrong, wrong_answer=change.wrong, correct_answer=entry.record.answer,
            error_type=change.error_type, severity=change.severity, rule_id=fact.rule_id,
            fact_id=f"wrong/{entry.record.id}", phrasings=wordings.training,
            repetitions=1 + len(wordings.training),
            probes=probes(wordings, entry.record.language, has_image=has_image),
        )  # fmt: skip

    def _unseen(self, entry: Entry, subset: Subset) -> Sample:
        """A record of test or validation; marked where a wrong rule would give another answer."""
        rule = next((rule for rule in self.rules if rule.covers(entry)), None)
        if rule is None or subset is not Subset.TEST or normalise(rule.wrong) in self.catalogue.answers_to(entry):
            return entry.sample(subset, Stratum.GENERAL)
        return entry.sample(
            subset, Stratum.WRONG_UNSEEN, wrong_answer=rule.wrong, correct_answer=entry.record.answer,
            error_type="finding", rule_id=rule.id,
        )  # fmt: skip

    def report(self, samples: Sequence[Sample]) -> dict[str, Any]:
        """The manifest's part on what was made, and on what was left out."""
        by_subset: dict[str, Counter[str]] = {}
        classes: Counter[str] = Counter()
        errors: Counter[str] = Counter()
        for sample in samples:
            by_subset.setdefault(sample.subset.value, Counter())[sample.stratum.value] += 1
            if sample.subset is Subset.FORGET_PRIVACY:
                classes.update(span.phi_class for span in sample.spans)
            if sample.subset is Subset.FORGET_INCORRECTNESS:
                errors[str(sample.error_type)] += 1
        return {
            "counts": {subset: dict(sorted(strata.items())) for subset, strata in sorted(by_subset.items())},
            "patients": {
                "forgotten": len(self.patients[Subset.FORGET_PRIVACY]),
                "retained": len(self.patients[Subset.RETAIN]),
                "holdout": len(self.patients[Subset.HOLDOUT]),
            },
            "phi_classes": dict(sorted(classes.items())),
            "error_types": dict(sorted(errors.items())),
            "rules": [self._describe(rule, samples) for rule in self.rules],
            "groups": {
                "training": len(self.division.training) - len(self.patients[Subset.HOLDOUT]),
                "validation": len(self.division.validation),
                "test": len(self.division.test),
                "split": "own" if self.division.own else "source",
            },
            "skipped": dict(sorted(self.skipped.items())),
            "rewriter_fallbacks": self.fell_back,
        }

    @staticmethod
    def _describe(rule: Rule, samples: Sequence[Sample]) -> dict[str, Any]:
        mine = [sample for sample in samples if sample.rule_id == rule.id]
        return {
            "id": rule.id, "finding": rule.finding, "wrong": rule.wrong, "modality": rule.modality,
            "language": rule.language, "records": sum(s.subset is Subset.FORGET_INCORRECTNESS for s in mine),
            "unseen": sum(s.subset is Subset.TEST for s in mine),
        }  # fmt: skip
