"""What ``compare`` prints: tables, then what they mean in sentences."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from mllmu_med.cli.printing import print_json, print_table

if TYPE_CHECKING:
    from mllmu_med.comparing import Comparison, Nearness
    from mllmu_med.evaluation.comparing.pairs import Difference

_NONE = "–"


def print_comparison(found: Comparison, *, json: bool) -> None:
    """All differences, the noise floor where there is one, and the sentences."""
    if json:
        print_json(found)
        return
    differences = found["differences"]
    for pair in dict.fromkeys((one["a"], one["b"]) for one in differences):
        _print_pair([one for one in differences if (one["a"], one["b"]) == pair])
    if found["floor"]:
        _print_floor(found["floor"])
    for sentence in _sentences(differences):
        typer.echo(sentence)


def _print_pair(differences: list[Difference]) -> None:
    from mllmu_med.evaluation.comparing.pairs import p_text, words

    first = differences[0]
    columns = ["", first["a"], first["b"], "difference", "95 % interval", "p (Holm)"]
    several, power = first["seeds"] > 1, first["power"]
    columns += [f"between {first['test'].rpartition(' ')[2]}"] if several else []
    columns += [f"power for {power['difference']:g}", "clusters", "needed"] if power else []
    rows = []
    for one in differences:
        if one["difference"] is None:
            continue
        interval = _NONE if one["low"] is None else f"{one['low']:+.3f} … {one['high']:+.3f}"
        p = _NONE if one["p_holm"] is None else p_text(one["p_holm"]) + (" *" if one["told_apart"] else "")
        row = [words(one["quantity"]), _number(one["value_a"]), _number(one["value_b"])]
        row += [f"{one['difference']:+.3f}", interval, p]
        row += [_number(one["between_seeds"])] if several else []
        if one["power"]:
            row += [_number(one["power"]["power"]), str(one["power"]["clusters"]), _count(one["power"]["needed"])]
        rows.append(row)
    print_table(f"{first['a']} − {first['b']}  ({_how(differences)})", columns, rows)


def _how(differences: list[Difference]) -> str:
    first = differences[0]
    tests = _tests(differences)
    if first["seeds"] > 1:
        return f"{first['seeds']} seeds; {tests}"
    return f"{'same samples' if first['paired'] else 'different benchmarks, not paired'}; {tests}"


def _tests(differences: list[Difference]) -> str:
    return ", ".join(dict.fromkeys(f"{one['test']} test" for one in differences if one["p"] is not None)) or "no test"


def _print_floor(nearness: list[Nearness]) -> None:
    from mllmu_med.evaluation.comparing.pairs import words

    said = {True: "cannot be told from an oracle", False: "further than oracles differ", None: _NONE}
    rows = [
        (one["row"], words(one["quantity"]), _number(one["gap"]), _number(one["floor"]), said[one["within"]])
        for one in nearness
        if one["gap"] is not None or one["floor"] is not None
    ]
    print_table("distance from the oracle, beside that of two oracles", ("row", "", "distance", "floor", ""), rows)


def _sentences(differences: list[Difference]) -> list[str]:
    """Of the scores; of everything where no score was compared."""
    from mllmu_med.evaluation.comparing.sides import SCORES

    scores = [one["sentence"] for one in differences if one["quantity"] in SCORES]
    return scores or [one["sentence"] for one in differences]


def _number(value: float | None) -> str:
    return _NONE if value is None else f"{value:.3f}"


def _count(value: int | None) -> str:
    return _NONE if value is None else f"{value:,}"
