"""Text forms that answers are compared in: folded text, words, short answers, yes/no."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

CACHE = 1 << 17  # entries; answers and references repeat over rows, so each text is normalised once

_QUOTES_AND_DASHES = str.maketrans(
    {"‘": "'", "’": "'", "ʼ": "'", "“": '"', "”": '"', "‐": "-", "‑": "-", "‒": "-", "–": "-", "—": "-", "−": "-"}
)
# Accents of Latin, Greek and Cyrillic only: other combining marks (Japanese voicing, Indic vowels) make other letters.
_ACCENTS = re.compile("[\u0300-\u036f]")
_INVISIBLE = re.compile("[\u00ad\u200b-\u200f\u2060\ufeff]")
CJK = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
# A sign is a word where it carries the meaning: "< 5 mm", "-2.5", "ER+" and "ER-"; a hyphen ("C5-6", "X-ray") is none.
_SIGN = r"[<>≤≥]|(?<![^\s(])[+-](?=\d)|(?<=\w)\+(?!\w)|(?<=\w)-(?=$|[,;/)])"
_WORD = re.compile(rf"[{CJK}]|\d+(?:[.,]\d+)*|[^\W\d_{CJK}]+(?:'t\b)?|{_SIGN}")
_HAS_CJK = re.compile(rf"[{CJK}]")

_ARTICLES = frozenset({"a", "an", "the"})
NUMBER_WORDS = {
    "zero": "0", "one": "1", "two": "2", "three": "3", "four": "4", "five": "5",
    "six": "6", "seven": "7", "eight": "8", "nine": "9", "ten": "10",
}  # fmt: skip
_CHINESE_NUMBERS = {
    "零": "0", "一": "1", "二": "2", "两": "2", "三": "3", "四": "4", "五": "5",
    "六": "6", "七": "7", "八": "8", "九": "9", "十": "10",
}  # fmt: skip

_YES = frozenset({"yes", "yeah", "yep", "yup", "true", "correct"})
_NO = frozenset({"no", "nope", "not", "never", "false", "incorrect", "none", "without"})
_YES_REFERENCE = frozenset(
    {"yes", "true", "是", "是的", "有", "有的", "对", "对的", "正确", "存在", "会", "能", "可以", "包含", "属于"}
)
_NO_REFERENCE = frozenset(
    {"no", "false", "否", "不", "不是", "不是的", "没有", "没", "无", "不对", "错", "错误", "不正确"}
    | {"不存在", "不会", "不能", "不可以", "不包含", "不属于"}
)
_CHINESE_NO = re.compile("[不没無无否非未错]")
_NO_NEGATION = re.compile("非常|毫无疑问|无疑|不错|不仅|不但|不止")  # these begin like one
_CHINESE_YES = re.compile("是|有|对|正确|存在|会|能|可以|包含|属于")


def has_cjk(text: str) -> bool:
    """Whether the text holds Chinese or Japanese characters, which are compared one by one."""
    return _HAS_CJK.search(text) is not None


@lru_cache(CACHE)
def fold(text: str, accents: bool = False) -> str:
    """NFKC, case folded, quotes and dashes plain, white space single; accents are removed unless ``accents``."""
    text = _INVISIBLE.sub("", unicodedata.normalize("NFKC", text)).casefold().translate(_QUOTES_AND_DASHES)
    if not accents:
        text = unicodedata.normalize("NFC", _ACCENTS.sub("", unicodedata.normalize("NFD", text)))
    return " ".join(text.split())


@lru_cache(CACHE)
def words(text: str) -> tuple[str, ...]:
    """Words of the folded text without punctuation, but with the signs that are part of a value (``<``, ``-2.5``,
    ``ER+``); Chinese: one word per character.

    Numbers keep their decimals and are words of their own ("2cm": 2, cm); "can't" is one word.
    """
    return tuple(_WORD.findall(fold(text)))


@lru_cache(CACHE)
def short_words(text: str) -> tuple[str, ...]:
    """:func:`words` with articles removed and number words (zero to ten) as digits.

    An article that ends the text is kept: it is the letter of "hepatitis A". A Chinese answer that is one numeral
    ("三", "3个") becomes its digit.
    """
    found = words(text)
    if found and found[-1] == "个" and len(found) == 2:
        found = found[:1]
    if len(found) == 1 and found[0] in _CHINESE_NUMBERS:
        return (_CHINESE_NUMBERS[found[0]],)
    kept = [word for place, word in enumerate(found) if word not in _ARTICLES or place == len(found) - 1]
    return tuple(NUMBER_WORDS.get(word, word) for word in kept)


def same(answer: str, reference: str) -> bool:
    """Equal as short answers: whatever the case, accents, punctuation, articles and spelling of numbers. Empty is equal
    to nothing."""
    left = short_words(answer)
    return bool(left) and left == short_words(reference)


@lru_cache(CACHE)
def yes_no(reference: str) -> str | None:
    """``"yes"`` or ``"no"`` where the whole text is one of the English or Chinese forms, else None."""
    plain = "".join(words(reference))
    return "yes" if plain in _YES_REFERENCE else "no" if plain in _NO_REFERENCE else None


@lru_cache(CACHE)
def polarity(answer: str) -> str | None:
    """What a free answer to a yes/no question says.

    English: the first word decides where it is a yes or no form; otherwise the one form that occurs anywhere ("there is
    no effusion"); None where neither or both occur. Chinese: by how the answer begins, negations first ("不是" is no).
    """
    found = words(answer)
    if not found:
        return None
    if has_cjk(found[0]):
        plain = "".join(found)
        if plain.startswith("是否"):
            return None
        if emphatic := _NO_NEGATION.match(plain):
            plain = plain[emphatic.end() :]
        return "no" if _CHINESE_NO.match(plain) else "yes" if _CHINESE_YES.match(plain) else None
    said = ["yes" if word in _YES else "no" for word in found if word in _YES or negates(word)]
    if not said:
        return None
    return said[0] if found[0] in _YES or negates(found[0]) or len(set(said)) == 1 else None


def negates(word: str) -> bool:
    """Whether an English word says no: ``not``, ``without``, ``isn't``; not ``can't``, as in "can't be excluded"."""
    return word in _NO or (word.endswith("n't") and word not in ("can't", "couldn't"))


def holds_phrase(text: tuple[str, ...], phrase: tuple[str, ...]) -> bool:
    """Whether the words of ``phrase`` stand one after the other in ``text``; an empty phrase stands nowhere."""
    return bool(places(text, phrase))


def places(text: tuple[str, ...], phrase: tuple[str, ...]) -> list[int]:
    """Where ``phrase`` begins in ``text``."""
    size = len(phrase)
    if not size:
        return []
    return [at for at in range(len(text) - size + 1) if text[at] == phrase[0] and text[at : at + size] == phrase]
