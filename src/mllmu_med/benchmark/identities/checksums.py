"""Check digits, computed in order to be wrong: a number that fails its own check was never issued."""

from __future__ import annotations


def luhn_wrong(body: str) -> str:
    """``body`` (digits and separators) and one more digit that fails the Luhn check (ISO/IEC 7812)."""
    digits = [int(character) for character in body if character.isdigit()]
    total = 0
    for place, digit in enumerate(reversed(digits)):  # the digit next to the check digit counts double
        doubled = digit * 2 if place % 2 == 0 else digit
        total += doubled - 9 if doubled > 9 else doubled
    return f"{body}{(-total + 5) % 10}"


def gtin_wrong(value: str) -> str:
    """Put a wrong check digit for ``*`` in ``(01)`` + 13 digits + ``*`` + the rest of a GS1 element string."""
    body = value[4:17]
    total = sum(int(digit) * (3 if place % 2 == 0 else 1) for place, digit in enumerate(body))
    return value.replace("*", str((-total + 5) % 10))


def iban_wrong(value: str) -> str:
    """Put wrong check digits for ``**`` in an IBAN, and set it in groups of four.

    ISO 13616: the number with its first four characters moved to the end and letters read as 10 to 35 leaves 1 when
    divided by 97. The digits here leave 2.
    """
    country, body = value[:2], value[4:]
    number = int("".join(str(int(character, 36)) for character in f"{body}{country}00"))
    full = f"{country}{(98 - number % 97) % 97 + 1:02}{body}"
    return " ".join(full[start : start + 4] for start in range(0, len(full), 4))


def german_insurance_wrong(body: str) -> str:
    """A letter and eight digits of a German health insurance number, and a check digit that is wrong.

    The letter is read as its two-digit place in the alphabet; digits count once and twice in turn, with digit sums.
    """
    letter, digits = body[0], body[1:]
    numbers = [int(digit) for digit in f"{ord(letter) - ord('A') + 1:02}{digits}"]
    total = 0
    for place, digit in enumerate(numbers):
        weighted = digit * (1 + place % 2)
        total += weighted - 9 if weighted > 9 else weighted
    return f"{body}{(total + 5) % 10}"


def tax_file_wrong(body: str) -> str:
    """Eight digits of an Australian tax file number, and a ninth that fails its check (weighted sum, modulo 11)."""
    digits = [int(character) for character in body if character.isdigit()]
    right = sum(digit * weight for digit, weight in zip(digits, (1, 4, 3, 7, 5, 8, 6, 9), strict=True)) % 11
    return f"{body}{(right + 5) % 10 if right < 10 else 0}"  # 10: no digit is right


def my_number_wrong(body: str) -> str:
    """Eleven digits of a Japanese individual number, and a twelfth that fails its check (weighted sum, modulo 11)."""
    digits = [int(character) for character in body if character.isdigit()]
    weights = (6, 5, 4, 3, 2, 7, 6, 5, 4, 3, 2)
    left = sum(digit * weight for digit, weight in zip(digits, weights, strict=True)) % 11
    right = 0 if left <= 1 else 11 - left
    return f"{body}{(right + 5) % 10}"
