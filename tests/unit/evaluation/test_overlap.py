from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mllmu_med.evaluation.overlap import (
    best_rouge_1,
    best_rouge_l,
    best_token_f1,
    best_token_recall,
    bleu,
    exact_match,
    rouge_1,
    rouge_l,
    token_f1,
    token_recall,
)

REFERENCE = "A small round opacity in the upper lobe of the left lung"
TEXTS = [
    REFERENCE,
    "Opacities in the upper lobes",
    "the left lung of the upper lobe in opacity round small a",
    "",
    "X-ray, T1_weighted 2.5cm!",
    "nothing in common",
]


@pytest.mark.parametrize("answer", TEXTS)
@pytest.mark.parametrize("reference", TEXTS)
def test_rouge_l_is_rouge_scores_own(answer: str, reference: str) -> None:
    from rouge_score.rouge_scorer import RougeScorer

    theirs = RougeScorer(["rougeL"], use_stemmer=True).score(reference, answer)["rougeL"]
    assert rouge_l(answer, reference) == pytest.approx((theirs.recall, theirs.fmeasure))


@pytest.mark.parametrize("answer", TEXTS)
@pytest.mark.parametrize("reference", TEXTS)
def test_rouge_1_is_rouge_scores_own(answer: str, reference: str) -> None:
    from rouge_score.rouge_scorer import RougeScorer

    theirs = RougeScorer(["rouge1"], use_stemmer=True).score(reference, answer)["rouge1"]
    assert rouge_1(answer, reference) == pytest.approx((theirs.recall, theirs.fmeasure))


def test_rouge_1_by_hand() -> None:
    # shared: "lung", "left", one "the" = 3 of 4 reference words, 3 of 5 answer words: F1 = 6/9
    score = rouge_1("lung the left the side", "the left lower lung")
    assert score.recall == pytest.approx(3 / 4)
    assert score.f1 == pytest.approx(2 / 3)
    assert rouge_1("肺左", "左肺").recall == 1.0  # characters, in any order
    assert best_rouge_1("left lung", ["liver", "lung left", "the left lung is clear"]).f1 == 1.0
    assert best_rouge_1("left lung", []) == (0.0, 0.0)


def test_token_f1_by_hand() -> None:
    # without articles: "left lung" of "left lower lung" and of "left lung clear now": recall 2/3, precision 2/4
    assert token_f1("The left lung, clear now", "a left lower lung") == pytest.approx(2 * (2 / 3) * (1 / 2) / (7 / 6))
    assert token_f1("two", "2 nodules") == pytest.approx(2 / 3)
    assert token_f1("lung", "lung lung") == pytest.approx(2 / 3)
    assert best_token_f1("lung", ["liver", "lung"]) == 1.0
    assert best_token_f1("lung", []) == 0.0


def test_rouge_l_by_hand() -> None:
    # LCS "left lung" = 2 of 4 reference words, 2 of 3 answer words: F1 = 2·(1/2)(2/3)/(1/2+2/3) = 4/7
    score = rouge_l("left lung clear", "the left lower lung")
    assert score.recall == pytest.approx(1 / 2)
    assert score.f1 == pytest.approx(4 / 7)


def test_rouge_l_of_chinese_counts_characters() -> None:
    assert rouge_l("左肺结节", "右肺结节").recall == pytest.approx(3 / 4)
    assert rouge_l("肺左", "左肺").recall == pytest.approx(1 / 2)
    assert rouge_l("左肺CT", "左肺ct").f1 == 1.0


def test_rouge_l_of_the_best_reference() -> None:
    assert best_rouge_l("left lung", ["liver", "left lung", "the left lung is clear"]).f1 == 1.0
    assert best_rouge_l("left lung", []).f1 == 0.0


@pytest.mark.parametrize(
    "metric",
    [lambda a, r: rouge_l(a, r).f1, lambda a, r: rouge_1(a, r).f1, lambda a, r: bleu(a, (r,)), token_recall, token_f1],
)
def test_perfect_empty_and_unicode(metric) -> None:
    assert metric(REFERENCE, REFERENCE) == 1.0
    assert metric("", REFERENCE) == 0.0
    assert metric(REFERENCE, "") == 0.0
    accented = "Lésion périphérique du lobe supérieur"
    assert metric(unicodedata.normalize("NFD", accented), unicodedata.normalize("NFC", accented)) == 1.0
    assert metric("ＬＥＳＩＯＮ peripherique du LOBE superieur", accented) == 1.0


def test_order_matters_to_overlap_and_not_to_token_recall() -> None:
    permuted = " ".join(reversed(REFERENCE.split()))
    assert token_recall(permuted, REFERENCE) == 1.0
    assert rouge_l(permuted, REFERENCE).f1 < 0.5
    assert bleu(permuted, (REFERENCE,)) < 0.5
    assert exact_match(permuted, [REFERENCE]) == 0.0


def test_bleu_is_sacrebleus_sentence_score() -> None:
    from sacrebleu.metrics import BLEU

    answer, reference = "a small opacity in the left lung", "a small round opacity in the left lung"
    theirs = BLEU(effective_order=True).sentence_score(answer, [reference]).score / 100
    assert bleu(answer, (reference,)) == pytest.approx(theirs)
    assert 0 < theirs < 1


def test_bleu_of_chinese_is_on_characters() -> None:
    assert bleu("左肺有一个结节", ("右肺有一个结节",)) > 0.5
    assert bleu("肝", ("右肺有一个结节",)) == 0.0


def test_exact_match_ignores_how_a_short_answer_is_written() -> None:
    assert exact_match("The left lung.", ["liver", "Left Lung"]) == 1.0
    assert exact_match("left lung nodule", ["left lung"]) == 0.0
    assert exact_match("", ["left lung"]) == 0.0


def test_token_recall_clips_counts() -> None:
    assert token_recall("lung", "lung lung liver") == pytest.approx(1 / 3)
    assert token_recall("The lung and a spleen", "lung liver") == pytest.approx(1 / 2)
    assert token_recall("two", "2 nodules") == pytest.approx(1 / 2)
    assert best_token_recall("lung", ["liver", "lung"]) == 1.0


WORDS = st.lists(st.sampled_from(["left", "right", "lung", "nodules", "a", "肺", "3"]), max_size=8).map(" ".join)


@given(WORDS, WORDS)
def test_every_overlap_is_between_0_and_1(answer: str, reference: str) -> None:
    one_words = (*rouge_1(answer, reference), token_f1(answer, reference))
    assert rouge_1(answer, reference).f1 == pytest.approx(rouge_1(reference, answer).f1)  # F1 is symmetric
    assert rouge_1(answer, reference).recall >= rouge_l(answer, reference).recall - 1e-12  # order costs nothing here
    for value in (*one_words, *rouge_l(answer, reference), bleu(answer, (reference,)), token_recall(answer, reference)):
        assert 0.0 <= value <= 1.0
