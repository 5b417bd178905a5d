from __future__ import annotations

import base64
import hashlib

import pytest
from jinja2 import UndefinedError

from mllmu_med.report.templating import environment, source_hash, template_text


def test_values_are_escaped_and_nothing_hides_in_them() -> None:
    template = environment().from_string("{{ text }}|{{ nothing }}|{{ number }}")
    shown = template.render(text="<b>\u202e 5 %", nothing=None, number=3)
    assert shown == "&lt;b&gt;⟨U+202E⟩ 5\N{NO-BREAK SPACE}%|–|3"


def test_a_value_that_is_not_given_is_an_error() -> None:
    with pytest.raises(UndefinedError):
        environment().from_string("{{ absent }}").render()


def test_the_hash_is_of_the_text_that_stands_in_the_page() -> None:
    script = template_text("benchmark.js")
    assert source_hash(script) == "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
