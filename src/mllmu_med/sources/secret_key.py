"""The secret key behind keyed hashes: names for patients that say nothing to whoever lacks the key."""

from __future__ import annotations

import hmac
import os
from pathlib import Path

from mllmu_med.errors import UsageError
from mllmu_med.folders import canonical_json

VARIABLE = "MLLMU_MED_KEY"
"""Environment variable that holds the key, where no file is given."""

SHORTEST_KEY = 32
"""Characters. A key of hexadecimal digits then has 128 bits."""

_LONGEST_KEY = 4096
_FEWEST_DIFFERENT = 8  # "000…0" has the length of a key and is none
_MAKE = "Make one with: openssl rand -hex 32 > key.txt && chmod 600 key.txt"


class SecretKey:
    """A key for HMAC-SHA256 (RFC 2104). Equal keys give equal hashes on every machine; its text is never shown.

    Args:
        text: at least 32 characters, with at least 8 different ones.

    Raises:
        UsageError: the key is too short, too long, or too uniform to be random.
    """

    __slots__ = ("_key",)

    def __init__(self, text: str, *, where: str = "the key") -> None:
        text = text.strip()
        if not SHORTEST_KEY <= len(text) <= _LONGEST_KEY:
            reason = f"{len(text)} characters, expected {SHORTEST_KEY} to {_LONGEST_KEY}"
            raise UsageError(f"{where} cannot be used: {reason}. {_MAKE}")
        if len(set(text)) < _FEWEST_DIFFERENT:
            raise UsageError(f"{where} cannot be used: too few different characters to be random. {_MAKE}")
        self._key = text.encode()

    @classmethod
    def read(cls, key_file: Path | str | None = None) -> SecretKey:
        """The key in ``key_file``, or else in the environment variable ``MLLMU_MED_KEY``.

        Raises:
            UsageError: there is none, or it cannot be used; says how to make one.
        """
        if key_file is None:
            if not os.environ.get(VARIABLE):
                raise UsageError(f"no key to hash patient identifiers with: set {VARIABLE} or key_file. {_MAKE}")
            return cls(os.environ[VARIABLE], where=f"the key in {VARIABLE}")
        try:
            with Path(key_file).open("rb") as file:
                data = file.read(_LONGEST_KEY + 2)  # one more than may be, beside a line end
        except OSError as error:
            raise UsageError(f"key file {key_file} cannot be read ({error.strerror}). {_MAKE}") from None
        if not data.isascii() or b"\0" in data:
            raise UsageError(f"key file {key_file} is not text. {_MAKE}")
        return cls(data.decode("ascii"), where=f"the key in {key_file}")

    def hash(self, *parts: str) -> str:
        """HMAC-SHA256 (64 hexadecimal digits) of the JSON list of ``parts``; the first says what the others are."""
        return hmac.new(self._key, canonical_json(list(parts)).encode("utf-8", "surrogatepass"), "sha256").hexdigest()

    def __repr__(self) -> str:
        return "SecretKey(***)"
