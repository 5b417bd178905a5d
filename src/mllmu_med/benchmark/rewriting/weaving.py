"""From tasks to checked texts: the rewriter's where it passes the checks, else the template's."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from mllmu_med.benchmark.rewriting.interface import GaveUp, Rewriter
from mllmu_med.benchmark.rewriting.tasks import Leak, Task
from mllmu_med.benchmark.rewriting.template import TemplateRewriter
from mllmu_med.benchmark.rewriting.validator import problems
from mllmu_med.benchmark.sample import Span
from mllmu_med.errors import DataError

if TYPE_CHECKING:
    from mllmu_med.benchmark.identities import PrivateValue


class Rewritten(NamedTuple):
    """A text that passed the checks.

    Attributes:
        spans: where the private values stand, in the order of the text; none for a wrong fact.
        fell_back: the template stands in for the rewriter.
        reason: why, without naming a value; None where the text is the rewriter's own.
    """

    text: str
    spans: tuple[Span, ...]
    fell_back: bool
    reason: str | None = None


def rewrite_all(rewriter: Rewriter, tasks: Sequence[Task], ids: Sequence[str], *, seed: int) -> list[Rewritten | None]:
    """One checked text per task, in order; None where even the template's fails (the answer holds a private value).

    Args:
        ids: one per task, unique; with ``seed`` they name a task's randomness, so that its text does not depend on the
            other tasks.

    Raises:
        DataError: the rewriter returned another number of texts than it was given tasks.
    """
    if len(ids) != len(tasks) or len(set(ids)) != len(ids):
        raise DataError("every task to be rewritten needs an id of its own")
    keys = [(seed, "rewrite", task_id) for task_id in ids]
    given = rewriter.rewrite(tasks, keys)
    if len(given) != len(tasks):
        raise DataError(f"rewriter '{rewriter.name}' returned {len(given)} texts for {len(tasks)} tasks")
    reasons = [_reason(task, text) for task, text in zip(tasks, given, strict=True)]
    missing = [index for index, reason in enumerate(reasons) if reason is not None]
    spare = TemplateRewriter().rewrite([tasks[index] for index in missing], [keys[index] for index in missing])
    instead = dict(zip(missing, spare, strict=True))
    found: list[Rewritten | None] = []
    for index, (task, text) in enumerate(zip(tasks, given, strict=True)):
        chosen = instead.get(index, text)
        if not isinstance(chosen, str):
            found.append(None)
            continue
        spans = spans_of(chosen, task.values) if isinstance(task, Leak) else ()
        found.append(Rewritten(chosen, spans, index in instead, reasons[index]))
    return found


def _reason(task: Task, text: str | GaveUp | None) -> str | None:
    """Why the template must stand in; None where it need not."""
    if isinstance(text, GaveUp):
        return text.reason
    if not isinstance(text, str):
        return "the rewriter gave no text"
    return next(iter(problems(task, text)), None)


def fallback_reasons(results: Iterable[Rewritten | None]) -> dict[str, int]:
    """How many texts fell back to the template, by reason, the commonest first; for the manifest."""
    counts = Counter(result.reason for result in results if result is not None and result.reason is not None)
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def spans_of(text: str, values: Sequence[PrivateValue]) -> tuple[Span, ...]:
    """Where each value stands in ``text`` (each must be there), in the order of the text."""
    spans = []
    for value in values:
        start = text.index(value.value)
        spans.append(Span(value.phi_class, value.value, start, start + len(value.value), value.space))
    return tuple(sorted(spans, key=lambda span: span.start))
