"""Numbers and codes as they are said, for planting values; nothing of ``mllmu_med.evaluation`` is used here."""

from __future__ import annotations

import re
from random import Random

ONES = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine",
)  # fmt: skip
TEENS = (
    "ten", "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
)  # fmt: skip
TENS = (
    "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety",
)  # fmt: skip
ORDINAL_WORDS = {
    "one": "first", "two": "second", "three": "third", "five": "fifth", "eight": "eighth", "nine": "ninth",
    "twelve": "twelfth", "twenty": "twentieth", "thirty": "thirtieth",
}  # fmt: skip
HAN = "〇一二三四五六七八九"
LETTERS = (
    "Alpha", "Bravo", "Charlie", "Delta", "Echo", "Foxtrot", "Golf", "Hotel", "India", "Juliett", "Kilo", "Lima",
    "Mike", "November", "Oscar", "Papa", "Quebec", "Romeo", "Sierra", "Tango", "Uniform", "Victor", "Whiskey",
    "X-ray", "Yankee", "Zulu",
)  # fmt: skip
NATO = {name[0]: name for name in LETTERS}
SIGNS = {"-": "dash", ".": "dot", "/": "slash", "@": "at", "_": "underscore", ":": "colon", "~": "tilde", "#": "hash"}


def below_hundred(number: int) -> str:
    """ "forty-seven" for 47."""
    if number < 20:
        return (*ONES, *TEENS)[number]
    return TENS[number // 10 - 2] + (f"-{ONES[number % 10]}" if number % 10 else "")


def ordinal_word(number: int) -> str:
    """ "twenty-fourth" for 24."""
    front, hyphen, last = below_hundred(number).rpartition("-")
    stem = last[:-1] + "ie" if last.endswith("y") else last
    return front + hyphen + ORDINAL_WORDS.get(last, f"{stem}th")


def ordinal(number: int) -> str:
    """ "24th" for 24."""
    return f"{number}{'th' if 10 <= number % 100 <= 20 else {1: 'st', 2: 'nd', 3: 'rd'}.get(number % 10, 'th')}"


def year_words(year: int) -> str:
    """ "nineteen fifty-seven", "two thousand and eight"."""
    first, last = divmod(year, 100)
    if 2000 <= year < 2010:
        return "two thousand" + (f" and {ONES[last]}" if last else "")
    if last < 10:
        return f"{below_hundred(first)} {f'oh {ONES[last]}' if last else 'hundred'}"
    return f"{below_hundred(first)} {below_hundred(last)}"


def han_number(number: int) -> str:
    """ "二十四" for 24; up to 99."""
    tens, rest = divmod(number, 10)
    return ("" if not tens else "十" if tens == 1 else f"{HAN[tens]}十") + (HAN[rest] if rest or not tens else "")


def singly(digits: str, random: Random) -> str:
    """Digits said one by one."""
    zero = random.choice(("zero", "oh"))
    return random.choice((" ", "-", ", ")).join(zero if sign == "0" else ONES[int(sign)] for sign in digits)


def in_pairs(digits: str) -> str:
    """Digits said two by two: "forty-eight twenty-nine oh seven one"."""
    said = []
    for place in range(0, len(digits), 2):
        pair = digits[place : place + 2]
        lone = len(pair) == 1 or pair[0] == "0"
        said.append(
            " ".join("oh" if sign == "0" else ONES[int(sign)] for sign in pair) if lone else below_hundred(int(pair))
        )
    return " ".join(said)


def with_doubles(digits: str) -> str:
    """ "double five seven" for 557, "triple zero" for 000."""
    said = []
    for run in re.finditer(r"(\d)\1{0,2}", digits):
        word = ("", "double ", "triple ")[len(run.group()) - 1]
        said.append(word + ("zero" if run[1] == "0" else ONES[int(run[1])]))
    return " ".join(said)


def cardinal(number: int) -> str:
    """ "four million eight hundred and twenty-nine thousand one hundred and seven" for 4829107."""
    said = []
    for scale, name in ((1_000_000, "million"), (1000, "thousand"), (1, "")):
        count, number = divmod(number, scale)
        hundreds, rest = divmod(count, 100)
        words = ([f"{ONES[hundreds]} hundred"] if hundreds else []) + ([below_hundred(rest)] if rest else [])
        if words:
            said.append(" ".join([" and ".join(words), name]).strip())
    return " ".join(said) or "zero"


def spelt(value: str, random: Random) -> str:
    """Read out letter by letter, digit by digit, with its signs."""
    style = random.choice(("plain", "nato", "as in"))
    said = []
    for sign in value:
        if sign.isdigit():
            said.append(ONES[int(sign)])
        elif sign in SIGNS:
            said.append(SIGNS[sign])
        elif sign.isascii() and sign.isalpha():
            name = NATO[sign.upper()]
            said.append({"plain": sign.upper(), "nato": name, "as in": f"{sign.upper()} as in {name}"}[style])
    return " ".join(said)
