"""Rewriters: from a clinical answer and private values, or a wrong fact, to one fluent text, checked before use."""

from __future__ import annotations

from mllmu_med.benchmark.rewriting.interface import REWRITERS, GaveUp, Keys, Rewriter, make_rewriter
from mllmu_med.benchmark.rewriting.tasks import Contradiction, Leak, Task
from mllmu_med.benchmark.rewriting.template import TemplateRewriter
from mllmu_med.benchmark.rewriting.validator import problems
from mllmu_med.benchmark.rewriting.weaving import Rewritten, fallback_reasons, rewrite_all, spans_of

__all__ = [
    "REWRITERS",
    "Contradiction",
    "GaveUp",
    "Keys",
    "Leak",
    "Rewriter",
    "Rewritten",
    "Task",
    "TemplateRewriter",
    "fallback_reasons",
    "make_rewriter",
    "problems",
    "rewrite_all",
    "spans_of",
]
