from __future__ import annotations

from collections import Counter

import pytest

from mllmu_med.benchmark.answers import normalise
from mllmu_med.benchmark.catalogue import Catalogue, read_catalogue
from mllmu_med.benchmark.edits import AnswerPools
from mllmu_med.benchmark.incorrectness import (
    Rule,
    apply_rules,
    asked_once,
    choose_rules,
    single_facts,
    text_facts,
)
from mllmu_med.benchmark.plan import BenchmarkPlan
from mllmu_med.benchmark.splitting import Division, divide
from mllmu_med.sources.record import Record
from tests.unit.benchmark.fake_source import FINDINGS, FakeSource, entry, record
from tests.unit.benchmark.test_catalogue import Listed, picture

KINDS = ("laterality", "presence", "organ", "modality", "count", "size")


def read(*records: Record) -> tuple[Catalogue, Division, AnswerPools]:
    catalogue = read_catalogue(Listed(*records))
    return catalogue, divide(catalogue, BenchmarkPlan(), 0), AnswerPools(catalogue.entries)


@pytest.fixture(scope="module")
def fake() -> tuple[Catalogue, Division, AnswerPools]:
    return read(*FakeSource().records())


def test_a_rule_turns_every_training_record_of_its_finding_in_its_modality(
    fake: tuple[Catalogue, Division, AnswerPools],
) -> None:
    catalogue, division, pools = fake
    rules = choose_rules(catalogue, division, pools, BenchmarkPlan(wrong_rules=2, rule_share=0.2), 0)
    assert [rule.id for rule in rules] == ["rule-1", "rule-2"]
    assert {rule.modality for rule in rules} == set(FINDINGS)
    facts = apply_rules(rules, catalogue, division)
    for rule in rules:
        assert rule.modality is not None
        assert {rule.finding, rule.wrong} <= set(FINDINGS[rule.modality])
        turned = {fact.entry.record.id for fact in facts.image if fact.rule_id == rule.id}
        assert turned == {
            e.record.id
            for group in division.training
            for e in division.entries[group]
            if e.record.content_type == "finding" and e.record.answer == rule.finding
        }
        assert {fact.edit.wrong for fact in facts.image if fact.rule_id == rule.id} == {rule.wrong}
    assert all(fact.edit.error_type == "finding" for fact in facts.image)


@pytest.mark.parametrize("seed", range(6))
def test_rules_do_not_chain_and_are_not_too_large(fake: tuple[Catalogue, Division, AnswerPools], seed: int) -> None:
    catalogue, division, pools = fake
    plan = BenchmarkPlan(wrong_rules=6, rule_share=0.2)
    rules = choose_rules(catalogue, division, pools, plan, seed)
    assert rules
    names = [name for rule in rules for name in (rule.finding, rule.wrong)]
    assert len(set(names)) == len(names)
    turned = Counter(fact.rule_id for fact in apply_rules(rules, catalogue, division).image)
    assert all(3 <= number <= 0.2 * len(division.image_groups()) for number in turned.values())
    assert choose_rules(catalogue, division, pools, BenchmarkPlan(wrong_rules=6, rule_share=0.04), seed) == []


def findings(*answers: tuple[str, str], split: str = "train") -> list[Record]:
    return [
        record(f"{split}{number}", answer=answer, modality=modality, source_split=split, group=f"{split}{number}",
               image=picture(f"{split}{number}", number + 500 * (split == "test")))
        for number, (answer, modality) in enumerate(answers)
    ]  # fmt: skip


def test_findings_of_unseen_test_images_come_first_and_negatives_are_never_a_rule() -> None:
    train = [("cyst", "CT")] * 4 + [("mass", "CT")] * 4 + [("abscess", "CT")] * 4 + [("none", "CT")] * 9
    for seed in range(5):
        catalogue, division, pools = read(
            *findings(*train), *findings(*[("cyst", "CT")] * 5, ("mass", "CT"), split="test")
        )
        rules = choose_rules(catalogue, division, pools, BenchmarkPlan(wrong_rules=1, rule_share=0.5), seed)
        assert rules[0].finding == "cyst"
        assert rules[0].wrong in ("mass", "abscess")


def test_a_rule_stays_within_its_modality() -> None:
    catalogue, division, pools = read(
        *findings(*[("cyst", "CT")] * 4, *[("glioma", "MRI")] * 4), *findings(("cyst", "CT"), split="test")
    )
    assert choose_rules(catalogue, division, pools, BenchmarkPlan(rule_share=1.0), 0) == []


def test_an_image_that_truly_shows_the_wrong_finding_is_left_alone() -> None:
    accepted = record("x", answer="cyst", modality="CT", extra={"accepted": ["mass"]})
    catalogue, division, _ = read(accepted, *findings(("cyst", "CT"), ("none", "CT"), ("cyst", "MRI")))
    facts = apply_rules([Rule("rule-1", "Cyst", "mass", "CT", "en")], catalogue, division)
    assert [fact.entry.record.id for fact in facts.image] == ["train0"]
    assert facts.unsafe == {"finding": 1}


def test_single_facts_take_the_kinds_in_turn_and_one_image_each(
    fake: tuple[Catalogue, Division, AnswerPools],
) -> None:
    catalogue, division, pools = fake
    taken = set(division.training[:10])
    facts = single_facts(catalogue, division, pools, KINDS, 12, taken, 0).image
    assert Counter(fact.edit.error_type for fact in facts) == dict.fromkeys(KINDS, 2)
    groups = [fact.entry.group for fact in facts]
    assert len(set(groups)) == 12
    assert not set(groups) & (taken | set(division.test))
    assert groups == sorted(groups, key=division.training.index)
    assert all(normalise(fact.edit.wrong) != normalise(fact.entry.record.answer) for fact in facts)


def test_where_kinds_run_out_the_others_fill_in(fake: tuple[Catalogue, Division, AnswerPools]) -> None:
    catalogue, division, pools = fake
    facts = single_facts(catalogue, division, pools, ("location", "size"), 500, (), 0)
    assert {fact.edit.error_type for fact in facts.image} == {"size"}
    assert len(facts.image) == len(division.image_groups())


def test_a_fact_that_another_record_of_the_image_states_is_not_turned() -> None:
    pair = [entry("a", question="Which organ?", content_type="organ", answer="lungs"),
            entry("b", question="What body part?", content_type="organ", answer="Lungs")]  # fmt: skip
    other = entry("c", question="Which organ?", content_type="organ", answer="lungs", group="g2")
    again = [entry("d", question="One?", group="g3"), entry("e", question="one", answer="mass", group="g3")]
    division = Division(("g1", "g2", "g3"), (), (), False, {"g1": pair, "g2": [other], "g3": again}, Counter())
    assert [asked_once(e, division) for e in (*pair, other, *again)] == [False, False, True, False, False]


def test_a_repeated_question_is_passed_over() -> None:
    catalogue, division, pools = read(
        record("a", answer="lungs", content_type="organ", question="Organ?"),
        record("b", answer="lungs", content_type="organ", question="Body part?"),
        record("c", answer="brain", content_type="organ", question="Organ?", group="g2", image=picture("k2", 2)),
    )
    facts = single_facts(catalogue, division, pools, ("organ",), 3, (), 0)
    assert [(fact.entry.record.id, fact.edit.wrong) for fact in facts.image] == [("c", "lungs")]
    assert facts.unsafe == {}


def test_two_different_yes_no_questions_may_have_the_same_answer() -> None:
    pair = [entry(name, question=f"Is there a {name}?", content_type="organ", answer="no") for name in ("a", "b")]
    division = Division(("g1",), (), (), False, {"g1": pair}, Counter())
    assert asked_once(pair[0], division)


def test_records_without_a_safe_edit_are_counted() -> None:
    catalogue, division, pools = read(record("a", answer="lungs", content_type="organ"))
    facts = single_facts(catalogue, division, pools, ("organ",), 3, (), 0)
    assert facts.image == []
    assert facts.unsafe == {"organ": 1}


def test_a_text_fact_is_turned_in_all_records_that_state_it() -> None:
    def fact(record_id: str, group: str, answer: str) -> Record:
        return record(record_id, image=None, group=group, answer=answer, content_type="drug", question=f"{record_id}?")

    catalogue, division, pools = read(
        fact("a1", "a", "statin"), fact("a2", "a", "Statin"), fact("b1", "b", "opioid"), record("image")
    )
    facts = text_facts(catalogue, division, pools, 9, 0).text
    assert [(f.entry.record.id, f.edit.wrong.lower()) for f in facts] == [
        ("a1", "opioid"), ("a2", "opioid"), ("b1", "statin"),
    ]  # fmt: skip
    assert {f.edit.error_type for f in facts} == {"drug"}
