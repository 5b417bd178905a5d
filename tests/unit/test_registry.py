"""The registry: lazy, open to plug-ins, helpful about names."""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint

import pytest

from mllmu_med import registry as registry_module
from mllmu_med.errors import UsageError
from mllmu_med.registry import Registry, did_you_mean


@pytest.fixture
def plugged(monkeypatch: pytest.MonkeyPatch) -> None:
    """A third party has installed ``mllmu_med.things``: ``theirs``."""

    def entry_points(*, group: str) -> list[EntryPoint]:
        return [EntryPoint("theirs", "fractions:Fraction", group)] if group == "mllmu_med.things" else []

    monkeypatch.setattr(registry_module, "entry_points", entry_points)


@pytest.mark.usefixtures("plugged")
def test_a_plug_in_is_listed_and_loaded() -> None:
    from fractions import Fraction

    things: Registry[type] = Registry("thing", {"ours": "decimal:Decimal"})
    assert list(things) == things.names() == ["ours", "theirs"]
    assert things.get("theirs") is Fraction
    assert "theirs" not in Registry("other").names()


def test_a_component_is_imported_when_it_is_first_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "colorsys", raising=False)
    things: Registry[object] = Registry("thing", {"colour": "colorsys:rgb_to_hsv"})
    assert things.names() == ["colour"]
    assert "colorsys" not in sys.modules
    assert things.get("colour").__name__ == "rgb_to_hsv"  # type: ignore[attr-defined]
    assert "colorsys" in sys.modules


def test_the_decorator_registers_and_refuses_a_second_one() -> None:
    things: Registry[type] = Registry("thing", {"lazy": "decimal:Decimal"})

    @things.register("mine")
    class Mine:
        pass

    assert things.get("mine") is Mine
    for taken in ("mine", "lazy"):
        with pytest.raises(UsageError, match=f"thing '{taken}' is registered twice"):
            things.register(taken)(Mine)


def test_an_unknown_name_says_what_is_near_and_what_is_known() -> None:
    things: Registry[object] = Registry("method", {"npo": "a:b", "grad_diff": "a:c"})
    with pytest.raises(UsageError) as error:
        things.get("grad_dif")
    assert str(error.value) == "unknown method 'grad_dif' (did you mean 'grad_diff'?); known: grad_diff, npo"


def test_nothing_is_proposed_where_nothing_is_near() -> None:
    assert did_you_mean("zzz", ["npo", "idk"]) == ""
    assert did_you_mean("ndo", ["npo", "idk"]) == " (did you mean 'npo'?)"
