"""The template's texts: varied, grammatical where it can be told by rule, and always passing the checks."""

from __future__ import annotations

import subprocess
import sys
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mllmu_med.benchmark.identities import Identities, PrivateValue
from mllmu_med.benchmark.plan import ADDITIONAL_CLASSES, PHI_CLASSES
from mllmu_med.benchmark.rewriting import Leak, TemplateRewriter, problems
from mllmu_med.benchmark.rewriting.template import kind_of, leak, wrong_sentence
from tests.unit.benchmark.rewriting.planted_tasks import EFFUSION, EFFUSION_ZH, MRN, NAME, NODULE, RECORD_ZH, wrong

CLASSES = (*PHI_CLASSES, *ADDITIONAL_CLASSES)
ANSWERS = {
    "en": (
        "Yes", "no.", "None", "Left Lung", "2", "T2", "nodule", "X-Ray", "There is a small nodule in the left lobe.",
        "Brain Edema, Brain Tumor", "A nodule.", "Normal!", "Crohn's disease", "3.5 cm", "No acute findings",
        "unclear?", "Digest food, absorb water, excrete body waste", "It is (probably) benign; follow up.",
    ),
    "zh": (
        "有", "没有。", "是的", "不包含", "左肺", "2", "T2", "CT", "结节", "左上肺可见一小结节。", "脑水肿,脑肿瘤",
        "正常！", "未见明显异常", "药物治疗，支持治疗", "核磁共振", "X光", "左侧（上部）", "无",
    ),
}  # fmt: skip


def told(answer: str, language: str, *values: PrivateValue) -> Leak:
    return Leak("Question?", answer, values, language)


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("phi_class", CLASSES)
def test_every_class_with_every_kind_of_answer_passes_at_the_first_try(language: str, phi_class: str) -> None:
    identities = Identities(1, locales=("en_US", "en_GB", "de_DE", "fr_FR"))
    for number, answer in enumerate(ANSWERS[language]):
        patient = identities.patient(number, language, (phi_class, "mrn", "date"))
        own = [value for value in patient.values if value.phi_class == phi_class]
        for count, seed in ((1, 0), (2, 1), (3, 2)):
            values = [*own, *(value for value in patient.values if value not in own)][:count]
            task = told(answer, language, *values)
            text = leak(task, Random(31 * number + seed))
            assert problems(task, text) == [], text


@settings(max_examples=150, deadline=None)
@given(
    clean=st.text(alphabet=st.characters(codec="utf-8", categories=("L", "N", "P", "Zs")), min_size=1, max_size=60),
    language=st.sampled_from(["en", "zh"]),
    number=st.integers(0, 50),
    classes=st.lists(st.sampled_from(CLASSES), min_size=1, max_size=3, unique=True),
    seed=st.integers(0, 99),
)
def test_any_answer_is_worded_unless_it_holds_a_value_or_says_nothing(
    clean: str, language: str, number: int, classes: list[str], seed: int
) -> None:
    patient = Identities(0).patient(number, language, classes)
    task = told(clean, language, *patient.values)
    (text,) = TemplateRewriter().rewrite([task], [(seed,)])
    if text is None:
        assert not clean.strip() or any(value.value in clean for value in patient.values)
        return
    assert problems(task, text) == []
    assert all(text.count(value.value) == 1 for value in patient.values)


def test_texts_differ_in_more_than_the_value() -> None:
    for task in (NODULE, told("nodule", "en", MRN), told("结节", "zh", RECORD_ZH), told("Yes", "en", MRN)):
        texts = {leak(task, Random(seed)) for seed in range(200)}
        shapes = set()
        for text in texts:
            for value in task.values:
                text = text.replace(value.value, "#")
            shapes.add(text)
        assert len(shapes) >= 60, sorted(shapes)
        answer = task.clean_answer.lower()
        assert len({text.index("#") < text.lower().index(answer) for text in shapes}) == 2  # before it, or behind it


def test_the_same_keys_give_the_same_text_in_any_company_and_any_process() -> None:
    rewriter = TemplateRewriter()
    alone = rewriter.rewrite([NODULE], [(3, "a")])
    among = rewriter.rewrite([EFFUSION, NODULE, told("Yes", "en", MRN)], [(3, "b"), (3, "a"), (3, "c")])
    assert among[1] == alone[0]
    code = (
        "from mllmu_med.benchmark.rewriting import TemplateRewriter;"
        "from tests.unit.benchmark.rewriting.planted_tasks import NODULE;"
        "print(TemplateRewriter().rewrite([NODULE], [(3, 'a')])[0])"
    )
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert other.stdout.strip() == alone[0]


@pytest.mark.parametrize(
    ("answer", "language", "kind"),
    [
        ("Yes.", "en", "yes_no"), ("NO", "en", "yes_no"), ("没有。", "zh", "yes_no"), ("Left Lung", "en", "phrase"),
        ("3.5 cm", "en", "phrase"), ("No finding", "en", "sentence"), ("Brain, Heart", "en", "sentence"),
        ("one two three four five six", "en", "phrase"), ("one two three four five six seven", "en", "sentence"),
        ("Really?", "en", "sentence"), ("左肺", "zh", "phrase"), ("脑水肿,脑瘤", "zh", "sentence"),
        ("左上肺可见一小结节", "zh", "sentence"),
    ],
)  # fmt: skip
def test_kinds_of_answers(answer: str, language: str, kind: str) -> None:
    assert kind_of(answer, language) == kind


def texts_of(answer: str, language: str = "en", count: int = 300, *values: PrivateValue) -> list[str]:
    task = told(answer, language, *(values or (MRN,)))
    return [leak(task, Random(seed)) for seed in range(count)]


def test_capitals_of_an_answer_inside_a_sentence() -> None:
    assert any("answer is left lung" in text for text in texts_of("Left Lung"))
    assert not any("answer is Left" in text for text in texts_of("Left Lung"))
    assert all("Left Lung" in text or "left lung" in text for text in texts_of("Left  Lung"))
    assert any("is Crohn's disease" in text for text in texts_of("Crohn's Disease"))
    for kept in ("X-ray", "MRI", "T2", "Ki-67"):
        assert all(kept in text for text in texts_of(kept, count=80))
    assert any(text.startswith("Nodule") for text in texts_of("nodule"))
    assert any(text.startswith("nodule") for text in texts_of("nodule"))


def test_a_value_is_never_changed_at_the_beginning_of_a_sentence() -> None:
    small = PrivateValue("name", "maria lopez", 1.0)
    texts = texts_of("nodule", "en", 300, small)
    assert any(text.startswith("maria lopez") for text in texts)
    assert not any("Maria" in text for text in texts)


def test_full_stops() -> None:
    for text in texts_of("A nodule."):
        assert text.endswith(".")
        assert "nodule.," not in text
        assert "nodule. (" not in text
        assert ".." not in text
    assert any(not text.endswith(".") for text in texts_of("nodule"))
    for text in texts_of("nodule", "en", 300, PrivateValue("name", "Sammy Davis Jr.", 1.0)):
        assert ".." not in text
    for text in texts_of("左肺。", "zh"):
        assert text.endswith(("。", "."))
        assert "。。" not in text
    for text in texts_of("Normal!"):
        assert "!." not in text


def test_yes_never_denies_or_confirms_the_value_itself() -> None:
    for text in [*texts_of("Yes"), *texts_of("No")]:
        assert not text.startswith(("MRN 4829107:", "Chart 4829107:", "MRN 4829107 -"))
        assert "Yes of" not in text


def test_the_name_leads_more_often_than_not() -> None:
    texts = texts_of("nodule", "en", 400, NAME, MRN)
    first = sum(text.index(NAME.value) < text.index(MRN.value) for text in texts)
    assert 0.55 < first / len(texts) < 0.9


def test_wrong_facts_are_sentences_that_pass() -> None:
    tasks = (
        EFFUSION, EFFUSION_ZH, wrong("Yes", "No"), wrong("有", "没有", "zh"), wrong("Left Lung", "Right Lung"),
        wrong("The heart is enlarged.", "The heart is small."), wrong("two", "three"), wrong("CT", "MRI", "zh"),
    )  # fmt: skip
    for task in tasks:
        texts = {wrong_sentence(task, Random(seed)) for seed in range(150)}
        assert len(texts) >= 12
        assert [text for text in texts if problems(task, text)] == []


def test_the_bare_wrong_answer_stands_in_where_no_sentence_passes() -> None:
    hard = wrong("answer", "question")  # nearly every sentence speaks of the answer
    (text,) = TemplateRewriter().rewrite([hard], [(5, "x")])
    assert text is not None
    assert "answer" not in text
    stuck = wrong("lung", "left lung and lung")
    assert TemplateRewriter().rewrite([stuck], [(0,)]) == [None]


def test_what_cannot_be_worded_gives_none() -> None:
    assert TemplateRewriter().rewrite([told("see 4829107", "en", MRN)], [(0,)]) == [None]
