"""What clinical answers mean, as far as it can be read off their words: yes/no, sides, opposites, same meaning.

English and Chinese. Everything here is a table or a pure function; an answer that no table covers is simply not known.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

_ARTICLES = re.compile(r"^(?:a|an|the)\s+")
_SEPARATORS = re.compile(r"[,;、，；]|\band\b|和|及")
_CHOICE = re.compile(r"\bor\b|还是|[和与].*哪")
_SHORTEST_MISSPELT = 4
_SPACES = re.compile(r"\s+")
_AUXILIARY = re.compile(
    r"^(?:is|are|was|were|does|do|did|can|could|has|have|had|will|would|should)\b|吗|是否|有没有|是不是|能不能|可不可以",
    re.IGNORECASE,
)

FLIPS = {
    "en": {"yes": "no", "present": "absent", "normal": "abnormal", "healthy": "unhealthy", "visible": "not visible"},
    "zh": {
        "是的": "不是", "是": "不是", "有": "没有", "存在": "不存在", "包含": "不包含", "可以": "不可以", "能": "不能",
        "正常": "不正常", "健康": "不健康", "对": "不对", "会": "不会", "属于": "不属于", "有的": "没有",
    },
}  # fmt: skip
"""Affirmative → negative, per language, lower case."""

_BACK = {
    "en": {"no": "yes"},
    "zh": {"不是": "是的", "没有": "有", "无": "有", "否": "是", "不": "是的", "异常": "正常", "不是的": "是的"},
}

SIDES = {"en": {"left": "right", "right": "left"}, "zh": {"左": "右", "右": "左"}}

OPPOSITES = {
    "en": {
        "small": "large", "large": "small", "big": "small", "tiny": "large", "mild": "severe", "severe": "mild",
        "enlarged": "normal", "medium": "large",
    },
    "zh": {"小": "大", "大": "小", "轻度": "重度", "重度": "轻度"},
}  # fmt: skip
"""Sizes and grades with a natural opposite."""

NEGATIVES = frozenset(
    {"none", "no", "nothing", "normal", "no finding", "no abnormality", "not seen", "healthy", "unremarkable",
     "无", "没有", "正常", "无异常", "没有异常"}
)  # fmt: skip
"""Answers that say that there is nothing to name."""

SAME_MEANING = (
    ("mri", "mr", "magnetic resonance imaging", "核磁共振", "核磁"),
    ("x-ray", "xray", "x ray", "chest x-ray", "x光", "x线", "x光片"),
    ("ct", "computed tomography", "ct scan", "abdominal ct"),
    ("head", "brain", "barin", "头部", "大脑", "脑", "脑部"),
    ("lung", "lungs", "chest", "thorax", "肺", "肺部", "肺脏", "胸腔", "胸部"),
    ("large bowel", "colon", "rectum", "大肠", "结肠", "直肠"),
    ("small bowel", "duodenum", "小肠", "十二指肠"),
    ("kidney", "kidneys", "肾脏", "肾"),
    ("heart", "cardiac", "心脏"),
    ("liver", "肝脏", "肝"),
    ("eye", "retina", "eyes"),
    ("nodule", "mass", "结节", "肿块"),
    ("infiltration", "pneumonia"),
    ("effusion", "pleural effusion", "积液", "胸腔积液"),
    ("haemorrhage", "hemorrhage", "出血"),
    ("tumor", "tumour", "cancer", "carcinoma", "肿瘤"),
    ("one", "1", "一", "一个"), ("two", "2", "二", "两个", "两"), ("three", "3", "三", "三个"), ("zero", "0", "零"),
)  # fmt: skip
"""Answers too close in meaning for one to be a wrong version of the other. Errs towards too many."""

_MEANING = {word: group[0] for group in SAME_MEANING for word in group}


@lru_cache(maxsize=2**15)
def normalise(text: str) -> str:
    """Lower case, width-folded, without outer punctuation, leading article and repeated spaces."""
    text = unicodedata.normalize("NFKC", text).casefold().strip().strip(".。!?！？\"'()（） ")
    return _ARTICLES.sub("", _SPACES.sub(" ", text))


def items(text: str) -> frozenset[str]:
    """The parts of an answer that lists several things, each by its meaning (see SAME_MEANING)."""
    parts = (normalise(part) for part in _SEPARATORS.split(normalise(text)))
    return frozenset(_MEANING.get(part, part) for part in parts if part)


def is_yes_no_question(question: str) -> bool:
    """Whether the question by its form asks for yes or no (English, Chinese)."""
    return bool(_AUXILIARY.search(question.strip()))


def fits_choice(question: str, right: str, wrong: str) -> bool:
    """False where the question offers a choice that holds the right answer but not the wrong one.

    "Which is bigger, liver or spleen?" can be answered wrongly with "spleen", not with "colon".
    """
    text = normalise(question)
    if not _CHOICE.search(text) or normalise(right) not in text:
        return True
    return normalise(wrong) in text


def flipped(answer: str, language: str) -> str | None:
    """The opposite of a yes/no answer in the same form and case, or None if it is none: Yes → No, 包含 → 不包含."""
    known = FLIPS.get(language, FLIPS["en"])
    table = {**{negative: positive for positive, negative in reversed(known.items())}, **known}
    table.update(_BACK.get(language, _BACK["en"]))
    opposite = table.get(normalise(answer))
    return None if opposite is None else like(answer, opposite)


def other_side(answer: str, language: str) -> str | None:
    """The answer with left and right exchanged, or None where no side, or more than one, is named."""
    if language == "zh":
        found = [sign for sign in answer if sign in SIDES["zh"]]
        return answer.replace(found[0], SIDES["zh"][found[0]]) if len(found) == 1 else None
    pattern = re.compile(r"(?<![A-Za-z])(left|right)(?![A-Za-z])", re.IGNORECASE)
    if len(pattern.findall(answer)) != 1:
        return None
    return pattern.sub(lambda match: like(match.group(), SIDES["en"][match.group().lower()]), answer)


def opposite_size(answer: str, language: str) -> str | None:
    """small → large and the like, or None."""
    word = OPPOSITES.get(language, OPPOSITES["en"]).get(normalise(answer))
    return None if word is None else like(answer, word)


def like(model: str, text: str) -> str:
    """``text`` in the letter case of ``model`` (capitals throughout, a leading capital, or as it is)."""
    if len(model) > 1 and model.isupper():
        return text.upper()
    return text[:1].upper() + text[1:] if model[:1].isupper() else text


def contradicts(wrong: str, right: str) -> bool:
    """Whether ``wrong`` can stand as a false version of ``right``: nothing in common, neither part of the other.

    "Lung" does not contradict "Left Lung" (it is less exact, not false), nor "Lung, Heart"; "Right Lung" contradicts
    "Left Lung".
    """
    if not normalise(wrong) or items(wrong) & items(right):
        return False
    one, other = normalise(wrong), normalise(right)
    if not (one.isascii() and other.isascii()):
        return (one not in other and other not in one) or flipped(right, "zh") == wrong
    words, others = re.findall(r"\w+", one), re.findall(r"\w+", other)
    if len(words) == len(others) and all(same_word(*pair) for pair in zip(words, others, strict=True)):
        return False
    first, second = set(words), set(others)
    return not (first <= second or second <= first) or "not" in first ^ second


def same_word(one: str, other: str) -> bool:
    """Whether two words are equal or, if longer than three letters, one slip apart: brain and brian, lung and lungs.

    A slip is a letter too many, too few or exchanged, or two neighbours swapped.
    """
    if one == other:
        return True
    short, long = sorted((one, other), key=len)
    if len(short) < _SHORTEST_MISSPELT or len(long) - len(short) > 1 or not (one + other).isalpha():
        return False
    start = next((i for i, (a, b) in enumerate(zip(short, long, strict=False)) if a != b), len(short))
    if len(long) > len(short):
        return short[start:] == long[start + 1 :]
    swapped = short[start + 1 : start + 2] + short[start] == long[start : start + 2]
    return short[start + 1 :] == long[start + 1 :] or (swapped and short[start + 2 :] == long[start + 2 :])


def severity(error_type: str, wrong: str, right: str) -> str:
    """``low``, ``medium`` or ``high``: how much acting on the error could harm.

    The wrong side, organ, finding or drug is high; so is a flipped presence. Modality, size and place are medium;
    a count is low when it is off by one and medium otherwise.
    """
    if error_type in ("laterality", "presence", "organ", "finding", "drug"):
        return "high"
    if error_type == "count":
        numbers = number(wrong), number(right)
        off = abs(numbers[0] - numbers[1]) if numbers[0] is not None and numbers[1] is not None else 2
        return "low" if off == 1 else "medium"
    return "medium"


_NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_HAN_NUMBERS = "零一二三四五六七八九十"


def number(answer: str) -> int | None:
    """The whole number an answer states in digits, an English word or a Chinese sign ("no" and "none" are 0)."""
    text = normalise(answer)
    if text.isascii() and text.isdigit():
        return int(text)
    if text in _NUMBERS:
        return _NUMBERS.index(text)
    if text in ("no", "none"):
        return 0
    stripped = text.removesuffix("个").replace("两", "二")
    return _HAN_NUMBERS.index(stripped) if len(stripped) == 1 and stripped in _HAN_NUMBERS else None
