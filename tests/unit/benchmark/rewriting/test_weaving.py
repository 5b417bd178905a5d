"""rewrite_all: order, spans, stand-ins and their reasons."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from mllmu_med.benchmark.rewriting import (
    GaveUp,
    Keys,
    Rewritten,
    Task,
    TemplateRewriter,
    fallback_reasons,
    problems,
    rewrite_all,
    spans_of,
)
from mllmu_med.errors import DataError
from tests.unit.benchmark.rewriting.planted_tasks import EFFUSION, MRN, NAME, NODULE, YES, leak


class Fixed:
    """Returns what it was given."""

    name = "fixed"

    def __init__(self, *texts: str | GaveUp | None) -> None:
        self.texts = texts
        self.seen: list[Keys] = []

    def rewrite(self, tasks: Sequence[Task], seed_keys: Sequence[Keys]) -> Sequence[str | GaveUp | None]:
        self.seen += seed_keys
        return self.texts


def test_order_spans_and_reasons() -> None:
    rewriter = Fixed(
        "Maria Lopez, 4829107: nodule", None, "As an AI model I cannot do that.", GaveUp("too slow"), "Effusion."
    )
    tasks = [NODULE, NODULE, NODULE, YES, EFFUSION]
    found = rewrite_all(rewriter, tasks, ["a", "b", "c", "d", "e"], seed=4)
    assert [one is not None and one.fell_back for one in found] == [False, True, True, True, False]
    reasons = [one.reason for one in found if one is not None]
    assert reasons == [
        None, "the rewriter gave no text", "the name stands in the text 0 times instead of once", "too slow", None,
    ]  # fmt: skip
    assert found[0] == Rewritten(
        "Maria Lopez, 4829107: nodule", spans_of("Maria Lopez, 4829107: nodule", NODULE.values), False
    )
    assert found[4] == Rewritten("Effusion.", (), False)
    for one, task in zip(found, tasks, strict=True):
        assert one is not None
        assert problems(task, one.text) == []
        assert all(one.text[span.start : span.end] == span.value for span in one.spans)
    assert rewriter.seen == [(4, "rewrite", name) for name in "abcde"]
    assert fallback_reasons([*found, None]) == {
        "the name stands in the text 0 times instead of once": 1, "the rewriter gave no text": 1, "too slow": 1,
    }  # fmt: skip


def test_reasons_are_counted_the_commonest_first() -> None:
    rows = [Rewritten("", (), True, reason) for reason in ("b", "a", "c", "c")]
    assert list(fallback_reasons(rows).items()) == [("c", 2), ("a", 1), ("b", 1)]


def test_a_stand_in_is_the_text_the_template_would_have_written() -> None:
    own = rewrite_all(TemplateRewriter(), [NODULE, YES], ["a", "b"], seed=4)
    instead = rewrite_all(Fixed(None, None), [NODULE, YES], ["a", "b"], seed=4)
    assert [one and one.text for one in own] == [one and one.text for one in instead]
    assert [one and one.fell_back for one in own] == [False, False]
    alone = rewrite_all(TemplateRewriter(), [YES], ["b"], seed=4)
    assert alone[0] == own[1]
    assert rewrite_all(TemplateRewriter(), [YES], ["b"], seed=5) != alone


def test_none_where_the_answer_holds_the_value() -> None:
    assert rewrite_all(Fixed("x"), [leak("see 4829107", MRN)], ["a"], seed=0) == [None]
    assert rewrite_all(TemplateRewriter(), [leak("see 4829107", MRN)], ["a"], seed=0) == [None]


def test_a_rewriter_that_loses_texts_is_refused() -> None:
    with pytest.raises(DataError, match=r"rewriter 'fixed' returned 1 texts for 2 tasks"):
        rewrite_all(Fixed("x"), [NODULE, YES], ["a", "b"], seed=0)


@pytest.mark.parametrize("ids", [["a"], ["a", "a"]])
def test_ids_must_be_unique_and_as_many_as_the_tasks(ids: list[str]) -> None:
    with pytest.raises(DataError, match="an id of its own"):
        rewrite_all(TemplateRewriter(), [NODULE, YES], ids, seed=0)


def test_nothing_to_do() -> None:
    assert rewrite_all(TemplateRewriter(), [], [], seed=0) == []


def test_spans_come_in_the_order_of_the_text() -> None:
    spans = spans_of("4829107, Maria Lopez", [NAME, MRN])
    assert [(span.phi_class, span.start, span.end) for span in spans] == [("mrn", 0, 7), ("name", 9, 20)]
    assert [span.space for span in spans] == [MRN.space, NAME.space]
