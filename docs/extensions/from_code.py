"""Directives that write the reference from the code itself, so that it cannot be out of date.

``recipe-keys`` · ``plan-keys`` · ``verb-help VERB`` · ``component-table sources|methods`` · ``metric-table`` ·
``function-table MODULE.FUNCTION …``
"""

from __future__ import annotations

import inspect
import os
import re
import subprocess
import sys
from dataclasses import fields
from typing import Any, ClassVar, get_args, get_origin

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective


def _cell(text: object) -> str:
    return " ".join(str(text).split()).replace("|", "\\|")


def _table(columns: list[str], rows: list[list[object]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in row) + " |" for row in lines) + "\n"


class _Generated(SphinxDirective):
    """A directive whose content is MyST text made by ``text``."""

    def text(self) -> str:
        raise NotImplementedError

    def run(self) -> list[nodes.Node]:
        return self.parse_text_to_nodes(self.text())


class RecipeKeys(_Generated):
    """Every key of the recipe, block by block; a key that an earlier block has explained is only named again."""

    def text(self) -> str:
        from mllmu_med.recipe import MethodSettings, Recipe

        self.explained: dict[tuple[str, str], str] = {}  # (key, meaning) → the block that first explained it
        parts = self._block(Recipe, Recipe(name="x"), "")
        fields = MethodSettings.model_fields
        rows = [
            [f"`methods.<row>.{name}`", self._kind(fields[name].annotation), default, fields[name].description]
            for name, default in (("name", "required"), ("row", "its `name`"), ("parameters", "`{}`"))
        ]
        parts.append("**`methods.<row>`** One method; also every key of `unlearn`.\n\n" + _table(self.COLUMNS, rows))
        return "\n\n".join(parts)

    COLUMNS: ClassVar = ["key", "value", "default", "meaning"]

    def _block(self, model: Any, defaults: Any, path: str) -> list[str]:
        rows: list[list[object]] = []
        same: dict[str, list[str]] = {}
        inner: list[str] = []
        for name, field in model.model_fields.items():
            key = f"{path}.{name}" if path else name
            value = getattr(defaults, name)
            if hasattr(type(value), "model_fields"):
                inner += self._block(type(value), value, key)
                rows.append([f"`{key}`", "block", "see below", field.description])
                continue
            before = self.explained.setdefault((name, field.description), path)
            if before != path:
                same.setdefault(before, []).append(f"`{name}: {_yaml(value)}`")
                continue
            default = "required" if field.is_required() else f"`{_yaml(value)}`"
            rows.append([f"`{key}`", self._kind(field.annotation), default, field.description])
        title = f"**`{path}`** {' '.join((model.__doc__ or '').split())}" if path else ""
        text = f"{title}\n\n{_table(self.COLUMNS, rows)}" if rows else title
        for before, keys in same.items():
            text += f"\n\nAs in `{before}`: {', '.join(keys)}."
        return [text, *inner]

    @staticmethod
    def _kind(annotation: Any) -> str:
        names = {
            bool: "true or false", int: "whole number", float: "number", str: "text", dict: "mapping", tuple: "list",
            list: "list",
        }  # fmt: skip
        found = _flat(annotation)
        options = [
            f"`{option}`" for one in found if str(get_origin(one)) == "typing.Literal" for option in get_args(one)
        ]
        kinds = options or list(dict.fromkeys(names[one] for one in found if one in names))[:1]
        return " or ".join([*kinds, *(["null"] if type(None) in found else [])])


def _flat(annotation: Any) -> list[Any]:
    """An annotation, its origin, and those of its arguments."""
    return [annotation, get_origin(annotation), *(one for part in get_args(annotation) for one in _flat(part))]


def _yaml(value: Any) -> str:
    """A default as it would be written in a recipe."""
    if isinstance(value, tuple):
        return "[" + ", ".join(getattr(entry, "row", None) or _yaml(entry) for entry in value) + "]"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value) if value != "" else '""'


class PlanKeys(_Generated):
    """The fields of BenchmarkPlan, with the text of its docstring."""

    def text(self) -> str:
        from mllmu_med.benchmark.plan import BenchmarkPlan

        meaning = _attributes(BenchmarkPlan.__doc__ or "")
        rows: list[list[object]] = []
        for field in fields(BenchmarkPlan):
            rows.append([f"`benchmark.{field.name}`", f"`{_yaml(field.default)}`", meaning[field.name]])
        return _table(["key", "default", "meaning"], rows)


def _attributes(docstring: str) -> dict[str, str]:
    """Name → text of a Google-style ``Attributes:`` section; entries may name several attributes."""
    section = docstring.partition("Attributes:")[2]
    found: dict[str, str] = {}
    for entry in re.split(r"\n(?=        \w)", section):
        names, colon, text = entry.strip().partition(":")
        if colon:
            plain = re.sub(r":\w+:`~?\.?([^`]+)`", r"`\1`", text).replace("``", "`")
            found.update({name.strip(): " ".join(plain.split()) for name in names.split(",")})
    return found


class ComponentTable(_Generated):
    """The registered sources or methods."""

    required_arguments = 1

    def text(self) -> str:
        from mllmu_med import listing

        rows = {"sources": listing.sources, "methods": listing.methods}[self.arguments[0]]()
        return _table(list(rows[0]), [[f"`{first}`", *rest] for first, *rest in (list(row.values()) for row in rows)])


class MetricTable(_Generated):
    """Every metric with the first sentences of its function's docstring."""

    FUNCTIONS: ClassVar = {
        "rouge_l_recall": "overlap.rouge_l", "rouge_l_f1": "overlap.rouge_l", "rouge_1_recall": "overlap.rouge_1",
        "rouge_1_f1": "overlap.rouge_1", "bleu": "overlap.bleu",
        "exact_match": "overlap.exact_match", "closed_accuracy": "closed.closed_accuracy",
        "token_recall": "overlap.token_recall", "token_f1": "overlap.token_f1", "span_recall": "spans.span_recall",
        "wrong_agreement": "closed.agreement", "correct_agreement": "closed.agreement",
        "probability": "memorisation.probability", "truth_ratio": "truth_ratio.fact_truth_ratio",
        "extraction_strength": "memorisation.extraction_strength",
        "exact_memorisation": "memorisation.exact_memorisation", "over_refusal": "behaviour.over_refusal",
        "degenerate": "behaviour.degenerate", "utility": "utility.utility",
    }  # fmt: skip

    def text(self) -> str:
        from mllmu_med.evaluation.metrics import METRICS

        notes = {
            "rouge_l_recall": "This is the recall.",
            "rouge_l_f1": "This is the F1.",
            "rouge_1_recall": "This is the recall.",
            "rouge_1_f1": "This is the F1.",
            "wrong_agreement": "The statement is the wrong answer, the other one the correct one.",
            "correct_agreement": "The statement is the correct answer, the other one the wrong one.",
        }
        rows: list[list[object]] = []
        for metric in METRICS:
            first = _meaning(self.FUNCTIONS[metric]).split("\n\n")[0]
            rows.append([f"`{metric}`", f"{first} {notes.get(metric, '')}"])
        return _table(["metric", "definition"], rows)


def _meaning(function: str) -> str:
    """The docstring of ``module.function`` of the evaluation, up to its arguments, as Markdown."""
    from importlib import import_module

    module, _, name = function.partition(".")
    found = getattr(import_module(f"mllmu_med.evaluation.{module}"), name)
    text = re.split(r"\n\s*(?:Args|Raises|Attributes):\n", inspect.getdoc(found) or "")[0].strip()
    return re.sub(r":\w+:`~?\.?([^`]+)`", r"`\1`", text).replace("``", "`")


class FunctionTable(_Generated):
    """Functions of the evaluation with their definitions, for what is measured of a whole model."""

    required_arguments = 1
    optional_arguments = 20

    def text(self) -> str:
        rows: list[list[object]] = [[f"`{name.partition('.')[2]}`", _meaning(name)] for name in self.arguments]
        return _table(["function", "definition"], rows)


class VerbHelp(SphinxDirective):
    """What ``mllmu-med VERB --help`` prints."""

    optional_arguments = 1

    def run(self) -> list[nodes.Node]:
        environment = {**os.environ, "COLUMNS": "100", "TERM": "dumb", "NO_COLOR": "1"}
        result = subprocess.run(
            [sys.executable, "-m", "mllmu_med", *self.arguments, "--help"],
            capture_output=True, text=True, check=True, env=environment,
        )  # fmt: skip
        text = "\n".join(line.rstrip() for line in result.stdout.strip("\n").splitlines())
        return [nodes.literal_block(text, text, language="none")]


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directives."""
    app.add_directive("recipe-keys", RecipeKeys)
    app.add_directive("plan-keys", PlanKeys)
    app.add_directive("component-table", ComponentTable)
    app.add_directive("metric-table", MetricTable)
    app.add_directive("function-table", FunctionTable)
    app.add_directive("verb-help", VerbHelp)
    return {"parallel_read_safe": True}
