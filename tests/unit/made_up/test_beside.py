"""Prompts beside wrong facts: of their form, about something else, and never about what is to be forgotten."""

from __future__ import annotations

import re
from dataclasses import replace

from mllmu_med.benchmark.facts.siblings import SIBLINGS
from mllmu_med.benchmark.sample import Sample, Stratum, Subset
from mllmu_med.benchmark.store import Benchmark
from mllmu_med.made_up.beside import other_facts_asked

POOL = [f"other-{number}" for number in range(10)]


def wrong(name: str, question: str, *phrasings: str, image: str | None = None, language: str = "en") -> Sample:
    return Sample(
        id=name, record_id=name, subset=Subset.FORGET_INCORRECTNESS, question=question, answer="antibiotic", group=name,
        stratum=Stratum.WRONG_TEXT if image is None else Stratum.WRONG_IMAGE, image_id=image, phrasings=phrasings,
        language=language, wrong_answer="antibiotic", correct_answer="statin",
    )  # fmt: skip


FACTS = [
    wrong("Lumhalol", "What class of drug is Lumhalol?", "To which class does LUMHALOL belong?"),
    wrong("kg-1", "Which organ does pneumonia affect?"),
    wrong("i1", "What does the image reveal?", "What is the main finding?", image="i1"),
    wrong("i2", "What does the image reveal?", image="i2"),
]


def test_kinds_take_turns_and_all_prompts_are_different() -> None:
    found = other_facts_asked(FACTS, POOL, 20, seed=0)
    assert [one.image is None for one in found] == [False, True] * 10
    assert len({(one.image, one.question) for one in found}) == 20
    assert {one.fact.id for one in found[:4]} == {fact.id for fact in FACTS}, "each once before any comes again"
    assert other_facts_asked(FACTS[::-1], POOL[::-1], 20, seed=0) == found
    assert other_facts_asked(FACTS, POOL, 7, seed=0) == found[:7]
    assert other_facts_asked(FACTS, POOL, 20, seed=1) != found


def test_images_are_never_those_of_the_forget_set() -> None:
    found = other_facts_asked(FACTS, [*POOL, "i1", "i2"], 60, seed=0)
    assert {one.image for one in found} <= {*POOL, None}
    assert {one.question for one in found if one.image} == {"What does the image reveal?", "What is the main finding?"}
    assert all(one.question in (one.fact.question, *one.fact.phrasings) for one in found if one.image)
    assert all(one.image is None for one in other_facts_asked(FACTS, ["i1", "i2"], 60, seed=0))


def test_another_drug_has_the_shape_of_the_name() -> None:
    found = other_facts_asked(FACTS[:1], [], 40, seed=0)
    assert len(found) == 40
    consonant = "[bdfgklmnprstv]"
    name = re.sub("c", consonant, re.sub("v", "[aeiou]", "(?i:cvccvcvc)"))
    for one in found:
        match = re.fullmatch(rf"What class of drug is ({name})\?|To which class does ({name}) belong\?", one.question)
        assert match is not None, one.question
        word = match[1] or match[2]
        assert word.istitle() if match[1] else word.isupper()
        assert not set(enumerate(word.lower())) & set(enumerate("lumhalol")), "no letter stays in its place"


def test_a_term_becomes_another_of_its_group() -> None:
    found = {one.question for one in other_facts_asked(FACTS[1:2], [], 40, seed=0)}
    group = next(group for group in SIBLINGS["en"]["finding"] if "pneumonia" in group)
    assert found <= {f"Which organ does {term} affect?" for term in group if term != "pneumonia"}
    assert len(found) > 2
    both = other_facts_asked([wrong("a", "Is the Liver or the spleen bigger on CT?")], [], 40, seed=0)
    assert both
    for one in both:
        assert re.search(r"the [A-Z][a-z]+ or", one.question), "its capital stays"
        assert "the liver" not in one.question.replace("Liver", "liver", 1).replace("liver", "", 1)
    zh = other_facts_asked([wrong("b", "肺炎怎么治疗？", language="zh")], [], 5, seed=0)
    assert zh
    assert all(one.question.endswith("怎么治疗？") and not one.question.startswith("肺炎") for one in zh)


def test_nothing_is_asked_that_is_itself_to_be_forgotten() -> None:
    group = next(group for group in SIBLINGS["en"]["finding"] if "pneumonia" in group)
    others = [wrong(term, f"Which organ does {term} affect?") for term in group if term != "atelectasis"]
    found = {one.question for one in other_facts_asked([*others, FACTS[1]], [], 60, seed=0)}
    asked = {fact.question for fact in others}
    assert "Which organ does atelectasis affect?" in found
    assert not found & asked


def test_facts_without_a_subject_have_none_beside_them() -> None:
    assert other_facts_asked([wrong("kg-7", "What is good for it?")], POOL, 9, seed=0) == []
    assert other_facts_asked([wrong("阿莫西林", "阿莫西林是什么？", language="zh")], POOL, 9, seed=0) == []
    private = replace(FACTS[2], subset=Subset.FORGET_PRIVACY)
    assert other_facts_asked([private], POOL, 9, seed=0) == []
    assert len(other_facts_asked([FACTS[3]], POOL[:2], 9, seed=0)) == 2, "no prompt comes twice"


def test_prompts_beside_the_facts_of_a_benchmark(built: Benchmark) -> None:
    forget = [s for s in built.samples() if s.subset in (Subset.FORGET_PRIVACY, Subset.FORGET_INCORRECTNESS)]
    found = other_facts_asked(forget, POOL, 50, seed=0)
    assert len(found) == 50
    asked = {(s.image_id, text) for s in forget for text in (s.question, *s.phrasings)}
    assert not asked & {(one.image, one.question) for one in found}
