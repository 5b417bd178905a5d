"""Overlap of an answer with a reference: ROUGE-L, ROUGE-1, BLEU, exact match, token recall and F1.

All 0..1, higher = more alike.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from functools import cache, lru_cache
from typing import Any, NamedTuple

from mllmu_med.evaluation.normalise import CACHE, fold, has_cjk, same, short_words

_ALPHANUMERIC = re.compile(r"[^\W_]+")


class Rouge(NamedTuple):
    """Recall and F1 of what answer and reference share: of the longest common subsequence, or of single words."""

    recall: float
    f1: float


_NOTHING = Rouge(0.0, 0.0)


@cache
def _default_tokenizer() -> Any:
    from rouge_score.tokenizers import DefaultTokenizer

    return DefaultTokenizer(use_stemmer=True)


@lru_cache(CACHE)
def _stem(word: str) -> str:
    stemmed: str = _default_tokenizer().tokenize(word)[0] if word.isascii() else word
    return stemmed


@lru_cache(CACHE)
def rouge_tokens(text: str) -> list[str]:
    """rouge-score's own tokens on ASCII text (lower case, alphanumeric runs, Porter stems of words over three letters).

    Unlike there, letters outside ASCII are letters: accents are folded and Chinese characters are single tokens. The
    cached list is shared: do not change it.
    """
    runs = _ALPHANUMERIC.findall(fold(text))
    tokens: list[str] = []
    for run in runs:
        if has_cjk(run):
            tokens += re.findall(r"[a-z0-9]+|.", run)
        else:
            tokens.append(_stem(run))
    return tokens


class _Tokenizer:
    """The form in which rouge-score takes a tokenizer."""

    def tokenize(self, text: str) -> list[str]:
        return rouge_tokens(text)


@cache
def _rouge() -> Any:
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer(["rougeL"], tokenizer=_Tokenizer())


@lru_cache(CACHE)
def rouge_l(answer: str, reference: str) -> Rouge:
    """ROUGE-L (Lin 2004) by ``rouge-score``: longest common subsequence over reference (recall), and F1 with precision.

    0..1, higher = more alike; an empty answer or reference gives 0.
    """
    tokens, wanted = rouge_tokens(answer), rouge_tokens(reference)
    if not tokens or not wanted:
        return _NOTHING
    if tokens == wanted:
        return Rouge(1.0, 1.0)
    score = _rouge().score(reference, answer)["rougeL"]
    return Rouge(float(score.recall), float(score.fmeasure))


def best_rouge_l(answer: str, references: Sequence[str]) -> Rouge:
    """The ROUGE-L of the reference with the highest F1; (0, 0) without references."""
    return max((rouge_l(answer, one) for one in references), key=lambda score: score.f1, default=_NOTHING)


@lru_cache(CACHE)
def rouge_1(answer: str, reference: str) -> Rouge:
    """ROUGE-1 (Lin 2004): words shared, in any order and with multiplicity, over the reference's words (recall), and
    F1 with precision.

    The words are those of :func:`rouge_tokens`, as for ROUGE-L. 0..1, higher = more alike; an empty answer or reference
    gives 0.
    """
    return _shared(rouge_tokens(answer), rouge_tokens(reference))


def best_rouge_1(answer: str, references: Sequence[str]) -> Rouge:
    """The ROUGE-1 of the reference with the highest F1; (0, 0) without references."""
    return max((rouge_1(answer, one) for one in references), key=lambda score: score.f1, default=_NOTHING)


def _shared(found: Sequence[str], wanted: Sequence[str]) -> Rouge:
    """Recall and F1 of words as multisets: F1 = 2 · shared / (found + wanted)."""
    shared = sum((Counter(found) & Counter(wanted)).values())
    return Rouge(shared / len(wanted), 2 * shared / (len(found) + len(wanted))) if shared else _NOTHING


@cache
def _bleu(chinese: bool) -> Any:
    from sacrebleu.metrics import BLEU

    return BLEU(effective_order=True, tokenize="zh" if chinese else "13a")


@lru_cache(CACHE)
def bleu(answer: str, references: tuple[str, ...]) -> float:
    """**Sentence** BLEU-4 (Papineni 2002; sacrebleu, Post 2018, arXiv 1804.08771), 0..1, higher = more alike.

    sacrebleu's ``sentence_score`` with exponential smoothing and effective order (an answer shorter than four words is
    judged by the n-grams it can have), tokenizer ``13a`` or ``zh``, on folded text. The mean over samples is reported,
    not corpus BLEU, so that it can be recomputed per stratum and bootstrapped.
    """
    folded, wanted = fold(answer), [fold(one) for one in references]
    if not folded or not any(wanted):
        return 0.0
    if folded in wanted:
        return 1.0
    chinese = any(has_cjk(one) for one in wanted)
    return min(1.0, float(_bleu(chinese).sentence_score(folded, wanted).score) / 100)


def exact_match(answer: str, references: Sequence[str]) -> float:
    """1 where the answer equals a reference as a short answer (:func:`~.normalise.same`), else 0."""
    return float(any(same(answer, one) for one in references))


@lru_cache(CACHE)
def token_recall(answer: str, reference: str) -> float:
    """Share of the reference's words (with multiplicity, articles left out) that occur in the answer, in any order.

    0..1, higher = more alike. The open-question score of LLaVA-Med (arXiv 2306.00890), with counts clipped so that a
    word said once is not found twice. An empty reference gives 0.
    """
    return _shared(short_words(answer), short_words(reference)).recall


def best_token_recall(answer: str, references: Sequence[str]) -> float:
    """The highest :func:`token_recall` over the references; 0 without references."""
    return max((token_recall(answer, one) for one in references), default=0.0)


@lru_cache(CACHE)
def token_f1(answer: str, reference: str) -> float:
    """Harmonic mean of :func:`token_recall` and the share of the answer's words that the reference has (precision).

    0..1, higher = more alike; an empty answer or reference gives 0. The F1 of SQuAD (Rajpurkar et al., arXiv
    1606.05250), on the words of :func:`~.normalise.short_words`.
    """
    return _shared(short_words(answer), short_words(reference)).f1


def best_token_f1(answer: str, references: Sequence[str]) -> float:
    """The highest :func:`token_f1` over the references; 0 without references."""
    return max((token_f1(answer, one) for one in references), default=0.0)
