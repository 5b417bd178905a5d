"""What the pages have in common: Jinja with autoescape, the files of the template folder, and their hashes."""

from __future__ import annotations

import base64
import hashlib
from importlib.resources import files
from typing import TYPE_CHECKING

from mllmu_med.report.text import MISSING, visible

if TYPE_CHECKING:
    from jinja2 import Environment


def template_text(name: str) -> str:
    """A style or script of the template folder."""
    return (files("mllmu_med.report") / "templates" / name).read_text(encoding="utf-8")


def source_hash(text: str) -> str:
    """What the content security policy lets run: the SHA-256 of exactly this text."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode('utf-8')).digest()).decode('ascii')}"


def environment() -> Environment:
    """Jinja with autoescape; every value passes :func:`~.text.visible`, and None becomes a dash."""
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    def finalize(value: object) -> object:
        if value is None:
            return MISSING
        if isinstance(value, Markup) or not isinstance(value, str):
            return value
        return visible(value).replace(" %", "\N{NO-BREAK SPACE}%")  # no line break between number and sign

    return Environment(
        loader=PackageLoader("mllmu_med.report"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=finalize,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
