"""Private values written in many ways, for measuring how well they are found.

The writings are made from what a value means (a day, a number, a name), with nothing shared with the detection that is
measured: no table, no function of ``mllmu_med.evaluation`` is used here (nor in ``speaking.py``).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import date, datetime
from ipaddress import IPv6Address
from random import Random
from typing import NamedTuple

from benchmarks.speaking import (
    HAN,
    ONES,
    SIGNS,
    below_hundred,
    cardinal,
    han_number,
    in_pairs,
    ordinal,
    ordinal_word,
    singly,
    spelt,
    with_doubles,
    year_words,
)

MONTHS = {
    "en": (
        "January", "February", "March", "April", "May", "June", "July", "August", "September", "October",
        "November", "December",
    ),
    "de": (
        "Januar", "Februar", "März", "April", "Mai", "Juni", "Juli", "August", "September", "Oktober", "November",
        "Dezember",
    ),
    "fr": (
        "janvier", "février", "mars", "avril", "mai", "juin", "juillet", "août", "septembre", "octobre", "novembre",
        "décembre",
    ),
    "es": (
        "enero", "febrero", "marzo", "abril", "mayo", "junio", "julio", "agosto", "septiembre", "octubre",
        "noviembre", "diciembre",
    ),
}  # fmt: skip
CODES = frozenset(
    {"ssn", "mrn", "health_plan", "account", "licence", "vehicle", "device", "biometric", "photo", "other"}
)
COUNTRY = {"en_GB": "44", "en_AU": "61", "de_DE": "49", "fr_FR": "33", "es_ES": "34", "zh_CN": "86", "ja_JP": "81",
           "en_US": "1"}  # fmt: skip
CARRIERS = {
    "en": ("{}", "{}.", "The record says {}, and the lungs are clear.", "Yes. On file: {}.", "({})", '"{}"',
           "Left pleural effusion [{}].", "It is {}; no fracture, 3 nodules of 4 mm.", "**{}**",
           "Patient data:\n- {}\n",
           "A CT of the liver. {} is what the form holds."),
    "zh": ("{}", "记录为{}。", "右肺有结节;{}", "该患者的资料：{}，肝脏正常。", "（{}）"),
    "ja": ("{}", "記録は{}です。", "右肺に結節、{}", "（{}）"),
}  # fmt: skip


class Writing(NamedTuple):
    """A value as an answer might hold it; ``rule`` names the way of writing."""

    rule: str
    text: str


def full_width(text: str) -> str:
    """ASCII signs in their wide forms."""
    return "".join(chr(ord(sign) + 0xFEE0) if "!" <= sign <= "~" else sign for sign in text)


def unaccented(text: str) -> str:
    """Accents dropped, as on an old terminal."""
    return text.translate(str.maketrans("äöüáéíóúñçèêëïîâàôûÄÖÜÁÉÍÓÚÑÇÈÊ", "aouaeiounceeeiiaaouAOUAEIOUNCEE"))


def everywhere(value: str, random: Random) -> Iterator[Writing]:
    """What may be done to any value."""
    yield Writing("verbatim", value)
    yield Writing("upper case", value.upper())
    yield Writing("lower case", value.lower())
    yield Writing("full width", full_width(value))
    yield Writing("invisible signs", "\u200b".join(value) if random.random() < 0.5 else value.replace(" ", "\u00a0"))
    if " " in value:
        yield Writing("broken line", value.replace(" ", "\n", 1))
        yield Writing("wide spaces", value.replace(" ", "   "))
    if unaccented(value) != value:
        yield Writing("no accents", unaccented(value))


def of_code(value: str, random: Random) -> Iterator[Writing]:
    """Numbers and codes of every kind."""
    separated = re.sub(r"[\W_]+", " ", value).strip()
    yield Writing("other separators", re.sub(r"[\W_]+", random.choice((" ", ".", "/", "–", " - ", "")), value))
    yield Writing("groups of three", " ".join(re.findall(r".{1,3}", re.sub(r"[\W_]+", "", value))))
    yield Writing("groups of two", "-".join(re.findall(r".{1,2}", re.sub(r"[\W_]+", "", value))))
    yield Writing("sign by sign", " ".join(separated.replace(" ", "")))
    if value.isascii():
        yield Writing("spelt out", spelt(value, random))
        yield Writing("digits in words", re.sub(r"\d+", lambda run: f" {singly(run[0], random)} ", value))
        yield Writing("digits in pairs", re.sub(r"\d+", lambda run: f" {in_pairs(run[0])} ", value))
        yield Writing("double digits", re.sub(r"\d+", lambda run: f" {with_doubles(run[0])} ", value))
    if re.fullmatch(r"[1-9]\d{0,8}", value):
        yield Writing("cardinal", cardinal(int(value)))
        yield Writing("thousands", f"{int(value):,}")
    yield Writing("field", f'{{"id": "{value}", "ok": true}}')
    yield Writing("sentence ends in it", f"5 mm. {value}. 3 lesions")
    zero = random.choice("〇零")
    han = "".join((zero + HAN[1:])[int(sign)] if sign.isdigit() else sign for sign in value)
    yield Writing("Chinese digits", han.replace("一", "幺") if random.random() < 0.3 else han)


def of_phone(value: str, locale: str, random: Random) -> Iterator[Writing]:
    """Telephone and fax numbers."""
    digits = re.sub(r"\D", "", value)
    national = digits
    if value.startswith("+"):
        national = digits[len(COUNTRY[locale]) :]
    elif digits.startswith("0"):
        national = digits[1:]
    grouped = random.choice((" ", "-", ".", "/")).join(re.findall(r".{1,3}", national))
    code = COUNTRY[locale]
    yield Writing("one run", digits)
    yield Writing("with country code", f"+{code} {grouped}")
    yield Writing("with 00", f"00{code} {national}")
    yield Writing("country code, one run", f"+{code}{national}")
    yield Writing("dots", ".".join(re.findall(r".{1,4}", digits)))
    yield Writing("brackets", f"(+{code}) {grouped}")
    yield Writing("extension", f"{value} {random.choice(('ext. 12', 'x12', 'extension 4', '转 12'))}")
    if locale != "en_US" and locale != "es_ES":
        yield Writing("trunk zero", f"0{grouped}")
        yield Writing("(0)", f"+{code} (0) {grouped}")
    yield Writing("digit by digit", singly(digits, random))
    yield Writing("call", f"call {grouped.replace('.', ' ')}, 9 to 5")
    yield Writing("digits in pairs", in_pairs(digits))
    yield Writing("double digits", with_doubles(digits))
    yield Writing("Chinese digits", "".join((random.choice("〇零") + HAN[1:])[int(sign)] for sign in digits))


FORMATS = ("%Y-%m-%d", "%m/%d/%Y", "%B %d, %Y", "%d %B %Y", "%d-%b-%Y", "%d.%m.%Y", "%d. %B %Y", "%d de %B de %Y",
           "%Y/%m/%d", "%Y年%m月%d日")  # fmt: skip


def day_of(value: str) -> tuple[date, str]:
    """The day that a generated value means, and the clock behind it ("" without)."""
    match = re.search(r" (\d\d:\d\d)$", value)
    text = value[: match.start()] if match else value
    for language in ("de", "fr", "es"):
        for own, english in zip(MONTHS[language], MONTHS["en"], strict=True):
            text = re.sub(rf"\b{own}\b", english, text)
    for form in FORMATS:
        try:
            return datetime.strptime(text, form).date(), match[1] if match else ""
        except ValueError:
            continue
    raise ValueError(f"no date: {value!r}")


def day_writings(day: date, random: Random) -> Iterator[Writing]:
    """A day in every way of writing."""
    english, short = MONTHS["en"][day.month - 1], MONTHS["en"][day.month - 1][:3]
    y, m, d = day.year, day.month, day.day
    yield Writing("ISO", day.isoformat())
    yield Writing("slashes, year first", f"{y}/{m}/{d}")
    yield Writing("American", f"{m}/{d}/{y}")
    yield Writing("European", f"{d:02}/{m:02}/{y}")
    yield Writing("German dots", f"{d}.{m}.{y}")
    yield Writing("month's name", random.choice((f"{english} {d}, {y}", f"{d} {english} {y}", f"{short}. {d} {y}")))
    yield Writing("ordinal", random.choice((f"{english} {ordinal(d)}, {y}", f"{ordinal(d)} of {english} {y}")))
    yield Writing("the ordinal", f"{english} the {ordinal(d)}, {y}")
    yield Writing("dashes, short month", f"{d:02}-{short}-{y}")
    yield Writing("upper month, one run", f"{d:02} {short.upper()} {y}")
    yield Writing("weekday", f"{day:%A}, {d} {english} {y}")
    yield Writing("year, short month", f"{y}-{short}-{d:02}")
    yield Writing("words", f"the {ordinal_word(d)} of {english}, {year_words(y)}")
    yield Writing("American words", f"{english} {ordinal_word(d)}, {year_words(y)}")
    yield Writing("year in words", f"{english} {d}, {year_words(y)}")
    for language in ("de", "fr", "es"):
        name = MONTHS[language][m - 1]
        first = "1er" if d == 1 else str(d)
        yield Writing(
            f"month in {language}",
            {"de": f"{d}. {name} {y}", "fr": f"{first} {name} {y}", "es": f"{d} de {name} de {y}"}[language],
        )
    yield Writing("Chinese", random.choice((f"{y}年{m}月{d}日", f"{y} 年 {m:02} 月 {d:02} 日", f"{y}年{m}月{d}号")))
    han_year = "".join(HAN[int(sign)] for sign in str(y))
    yield Writing("Chinese numerals", f"{han_year}年{han_number(m)}月{han_number(d)}日")
    for era, first_year in (("昭和", 1926), ("平成", 1989), ("令和", 2019)):
        if first_year < y < first_year + 30:
            yield Writing("Japanese era", f"{era}{y - first_year + 1}年{m}月{d}日")
    yield Writing("spaces", f"{d:02} {m:02} {y}")
    yield Writing("year first, spaces", f"{y} {m:02} {d:02}")
    yield Writing("slashes, short month", f"{d:02}/{short}/{y}")
    yield Writing("day of month of year", f"the {ordinal(d)} day of {english} in the year {y}")
    yield Writing("month of", f"{ordinal(d)} {english} of {y}")
    yield Writing("weekday, short", f"{day:%a} {d:02} {short} {y}")
    yield Writing("DICOM", f"{y}{m:02}{d:02}")
    yield Writing("two-digit year, named month", f"{d} {short} {random.choice(('', chr(39)))}{y % 100:02}")
    if y % 100 > 31:
        yield Writing("two-digit year", random.choice((f"{d:02}/{m:02}/{y % 100}", f"{m}/{d}/{y % 100}")))


def of_date(value: str, random: Random) -> Iterator[Writing]:
    """Days, and moments with their clock."""
    day, clock = day_of(value)
    for writing in day_writings(day, random):
        if not clock:
            yield writing
            continue
        hour, minute = map(int, clock.split(":"))
        half, twelve = ("p.m." if hour >= 12 else "a.m."), (hour - 1) % 12 + 1
        said = f"{below_hundred(twelve)} {below_hundred(minute) if minute > 9 else f'oh {ONES[minute]}'}"
        times = {
            "24 hours": clock, "12 hours": f"{twelve}:{minute:02} {half}", "h": f"{hour}h{minute:02}",
            "12 hours, one run": f"{twelve}:{minute:02}{half.replace('.', '')}",
            "military": f"{hour:02}{minute:02} hours",
            "Chinese clock": f"{'下午' if hour >= 12 else '上午'}{twelve}点{minute:02}分",
            "seconds": f"{clock}:00", "hrs": f"{clock} hrs", "o'clock": f"{clock} o'clock",
            "upper": f"{twelve}:{minute:02}{half.replace('.', '').upper()}", "Uhr": f"{hour}.{minute:02} Uhr",
        }  # fmt: skip
        if minute:
            times["clock in words"] = f"{said} {'in the afternoon' if hour >= 12 else 'in the morning'}"
        rule = random.choice(list(times))
        joined = random.choice(("{day} {time}", "{day} at {time}", "{day}, {time}", "{time} on {day}", "{day}T{time}"))
        if rule not in ("24 hours", "seconds") or not writing.text[-1].isdigit():
            joined = joined.replace("}T{", "} {")
        yield Writing(f"{writing.rule}; {rule}", joined.format(day=writing.text, time=times[rule]))


def of_age(value: str, random: Random) -> Iterator[Writing]:
    """Ages to the day."""
    y, m, d = (int(number) for number in re.findall(r"\d+", value))
    plural = ["" if number == 1 else "s" for number in (y, m, d)]
    yield Writing("short units", f"{y}y {m}m {d}d")
    yield Writing("words", f"{y} year{plural[0]}, {m} month{plural[1]} and {d} day{plural[2]}")
    yield Writing("old", f"{y} years {m} months {d} days old")
    yield Writing("abbreviated", f"{y} yrs {m} mos {d} d")
    yield Writing("Chinese", f"{y}岁{m}个月{d}天")
    yield Writing("Japanese", f"{y}歳{m}か月{d}日")
    spoken = below_hundred(y) if y < 100 else "one hundred" + (f" and {below_hundred(y - 100)}" if y > 100 else "")
    yield Writing("numbers in words", f"{spoken} years, {below_hundred(m)} months and {below_hundred(d)} days")


def of_name(value: str, random: Random) -> Iterator[Writing]:
    """Names of patients and doctors."""
    bare = re.sub(r"^(Prof\. )?(Dr\.|Docteur) |, (MD|FRCR)$|(医生|主任|医師)$", "", value)
    title = bare != value
    if not bare.isascii() and re.search(r"[\u3040-\u9fff]", bare):
        joined = bare.replace(" ", "")
        yield Writing("spaced", " ".join(joined))
        yield Writing("together", joined)
        yield Writing("dot between", bare.replace(" ", "・"))
        yield Writing("with honorific", joined + random.choice(("先生", "女士", "さん", "様")))
        return
    words = bare.split()
    full = [word for word in words if not word.endswith(".")]
    yield Writing("last name first", f"{words[-1]}, {' '.join(words[:-1])}")
    yield Writing("last name first, no comma", f"{full[-1].upper()} {' '.join(full[:-1])}")
    yield Writing("without initial", " ".join(full))
    yield Writing("signs between", random.choice("._-/").join(full))
    yield Writing("possessive", f"{' '.join(full)}'s")
    yield Writing(
        "with title",
        f"{random.choice(('Dr.', 'Prof.', 'Dr')) if title else random.choice(('Mr.', 'Mrs', 'Ms.'))} {bare}",
    )
    yield Writing("spelt", ", ".join("-".join(word.replace("-", "")) for word in full))
    if re.search("[äöü]", bare):
        yield Writing("umlauts as two letters", bare.replace("ä", "ae").replace("ö", "oe").replace("ü", "ue"))
    if title:
        yield Writing("with degree", f"{bare}, {random.choice(('MD', 'FRCR', 'PhD'))}")


def of_address(value: str, random: Random) -> Iterator[Writing]:
    """Home addresses."""
    short = value
    for long, brief in (("Street", "St."), ("Road", "Rd"), ("Avenue", "Ave."), ("Lane", "Ln"), ("straße", "str."),
                        ("Calle", "C/"), ("Avenida", "Avda."), ("Unit ", "Apt ")):  # fmt: skip
        short = short.replace(long, brief)
    yield Writing("short street", short)
    yield Writing("no comma", value.replace(",", ""))
    yield Writing("line by line", value.replace(", ", "\n"))
    if value.count(", ") == 1:
        first, second = value.split(", ")
        yield Writing("parts turned", f"{second}, {first}")
        yield Writing("in", f"{first} {random.choice(('in', 'in the town of', '; town:'))} {second}")
    number = re.search(r"\d+", value)
    if number and value.isascii() and number[0][0] != "0":
        yield Writing("cardinal", value.replace(number[0], cardinal(int(number[0])), 1))
    if number and value.isascii():
        yield Writing("number in digits' words", value.replace(number[0], singly(number[0], random), 1))
    if "丁目" in value:
        yield Writing("blocks", value.replace("丁目", "-"))
        yield Writing("番号", re.sub(r"(\d+)-(\d+)$", r"\1番\2号", value))
    if re.search("[市]", value):
        yield Writing("spaced", value.replace("市", "市 "))


def of_place(value: str, random: Random) -> Iterator[Writing]:
    """Hospitals."""
    yield Writing("with article", f"the {value}")
    yield Writing("possessive", f"{value}'s ward 3")
    yield Writing("signs between", value.replace(" ", random.choice(("-", "_", " / "))))


def of_net(value: str, phi_class: str, random: Random) -> Iterator[Writing]:
    """Email and web addresses, and numbers of machines."""
    if phi_class == "ip" and ":" in value:
        yield Writing("all groups", IPv6Address(value).exploded)
        return
    yield Writing("signs by name", "".join(f" {SIGNS[sign]} " if sign in SIGNS else sign for sign in value))
    yield Writing("defanged", value.replace(".", "[.]").replace("@", "[at]"))
    yield Writing("spaced signs", value.replace("@", " @ ").replace(".", " . "))
    yield Writing("digits in words", re.sub(r"\d+", lambda run: f" {singly(run[0], random)} ", value))
    if phi_class == "url":
        yield Writing("no scheme", re.sub(r"^https?://(www\.)?", "", value))
        yield Writing("trailing slash", value + "/")
        if "://" in value:
            yield Writing("link", f"[record]({value})")


def writings(value: str, phi_class: str, locale: str, random: Random) -> list[Writing]:
    """The value in every way of writing that fits its class."""
    found = list(everywhere(value, random))
    if phi_class in CODES:
        found += of_code(value, random)
    elif phi_class in ("phone", "fax"):
        found += of_phone(value, locale, random)
    elif phi_class in ("date", "admission"):
        found += of_date(value, random)
    elif phi_class in ("name", "physician"):
        found += of_name(value, random)
    elif phi_class in ("email", "url", "ip"):
        found += of_net(value, phi_class, random)
    else:
        makers: dict[str, Callable[[str, Random], Iterator[Writing]]] = {
            "age": of_age, "geography": of_address, "facility": of_place,
        }  # fmt: skip
        found += makers[phi_class](value, random)
    return found


def planted(text: str, language: str, random: Random) -> str:
    """An answer that holds the text."""
    return random.choice(CARRIERS[language]).format(text)
