"""Logits a part at a time: the numbers by hand, the gradients by differences, and the memory that is not taken."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from mllmu_med.methods import chunked
from mllmu_med.methods.chunked import DeferredLogits, answers_of_parts, each_token, is_large, target_logprob
from mllmu_med.methods.interface import Answers
from mllmu_med.methods.terms import forward_kl, mean_nll, token_kl


def deferred(head: Callable[[Tensor], Tensor], hidden: Tensor, counts: tuple[int, ...]) -> DeferredLogits:
    return DeferredLogits(
        [partial(head, part) for part in torch.split(hidden, list(counts))], counts, [1] * len(counts)
    )


def test_two_tokens_by_hand() -> None:
    """Logits (0, ln 3) and (ln 4, 0): the chances are ¼, ¾ and ⅘, ⅕; θ0's are ½, ½ and ⅕, ⅘."""
    logits = torch.tensor([[0.0, math.log(3)], [math.log(4), 0.0]])
    reference = torch.tensor([[0.0, 0.0], [0.0, math.log(4)]])
    own = DeferredLogits([lambda: logits[:1], lambda: logits[1:]], [1, 1], [1, 1])
    other = DeferredLogits([lambda: reference[:1], lambda: reference[1:]], [1, 1], [1, 1])
    found = each_token(target_logprob, [own], torch.tensor([1, 1]))
    assert found.tolist() == pytest.approx([math.log(3 / 4), math.log(1 / 5)])
    by_hand = [0.5 * math.log(2) + 0.5 * math.log(2 / 3), 0.2 * math.log(1 / 4) + 0.8 * math.log(4)]
    for given in (other, reference):
        assert each_token(token_kl, [own, given]).tolist() == pytest.approx(by_hand)


def test_gradients_are_right_in_double_precision() -> None:
    """To hidden states and to the head's own weights, through parts of unequal size."""
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(5, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(7, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    reference = torch.randn(5, 7, generator=generator, dtype=torch.float64)
    target = torch.tensor([0, 6, 3, 3, 1])

    def values(hidden: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        own = deferred(lambda part: part @ weight.t(), hidden, (2, 1, 2))
        return each_token(target_logprob, [own], target), each_token(token_kl, [own, reference])

    assert torch.autograd.gradcheck(values, (hidden, weight))
    whole = hidden @ weight.t()
    torch.testing.assert_close(values(hidden, weight), (target_logprob(whole, target), token_kl(whole, reference)))


def saved_bytes(make: Callable[[], Tensor]) -> int:
    """Bytes that a computation keeps for its backward pass, each memory once."""
    held: dict[int, Any] = {}

    def note(tensor: Tensor) -> Tensor:
        held[tensor.untyped_storage()._cdata] = tensor.untyped_storage()
        return tensor

    with saved_tensors_hooks(note, lambda tensor: tensor):
        made = make()
    assert made.requires_grad
    return sum(storage.nbytes() for storage in held.values())


@pytest.mark.parametrize("kind", ["nll", "kl"])
def test_no_logits_are_kept_for_the_backward_pass(kind: str) -> None:
    """Of 64 tokens and a vocabulary of 4,096 the whole keeps a mebibyte at least; the parts hidden states only."""
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(64, 8, generator=generator).requires_grad_()
    weight = torch.randn(4096, 8, generator=generator)
    other = torch.randn(64, 8, generator=generator)
    target = torch.randint(4096, (64,), generator=generator)

    def head(part: Tensor) -> Tensor:
        return part @ weight.t()

    def of(logits: Tensor | DeferredLogits, reference: Tensor | DeferredLogits) -> Tensor:
        answers = Answers(
            logits,  # type: ignore[arg-type]
            target, torch.arange(64) // 16, torch.ones(64), 4,
            reference_logits=reference,  # type: ignore[arg-type]
        )  # fmt: skip
        return mean_nll(answers) if kind == "nll" else forward_kl(answers)

    def parts() -> Tensor:
        return of(deferred(head, hidden, (16,) * 4), deferred(head, other, (16,) * 4))

    def whole() -> Tensor:
        return of(head(hidden), head(other))

    logits = 64 * 4096 * 4
    assert saved_bytes(whole) >= logits
    assert saved_bytes(parts) < logits / 16
    [expected], [found] = torch.autograd.grad(whole(), hidden), torch.autograd.grad(parts(), hidden)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-8)
    assert parts().item() == pytest.approx(whole().item(), rel=1e-6)


def test_a_backward_pass_may_be_taken_twice() -> None:
    """As gradient rules do: one for each side, over one forward pass."""
    hidden = torch.randn(4, 3, generator=torch.Generator().manual_seed(0)).requires_grad_()
    weight = torch.randn(9, 3, generator=torch.Generator().manual_seed(1))
    value = each_token(target_logprob, [deferred(lambda part: part @ weight.t(), hidden, (2, 2))], torch.arange(4))
    [first] = torch.autograd.grad(value.sum(), hidden, retain_graph=True)
    [second] = torch.autograd.grad(2 * value.sum(), hidden)
    torch.testing.assert_close(2 * first, second)


def test_whoever_wants_the_logits_gets_them_whole_and_once() -> None:
    asked: list[int] = []
    logits = torch.arange(6.0).reshape(3, 2)

    def part(start: int, stop: int) -> Tensor:
        asked.append(start)
        return logits[start:stop]

    own = DeferredLogits([partial(part, 0, 2), partial(part, 2, 3)], [2, 1], [1, 1])
    assert asked == []
    assert torch.equal(own.log_softmax(-1), logits.log_softmax(-1))
    assert torch.equal(own[1:], logits[1:])
    assert torch.equal(torch.logsumexp(own, -1), logits.logsumexp(-1))  # type: ignore[call-overload]
    assert torch.equal(torch.cat([own, own]), torch.cat([logits, logits]))  # type: ignore[list-item]
    assert own.shape == (3, 2)
    assert asked == [0, 2]


def test_parts_are_whole_answers_within_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunked, "LARGEST", 100)
    assert answers_of_parts([3, 4, 2, 1, 9, 30, 1], 10) == [4, 1, 1, 1]
    assert answers_of_parts([], 10) == []
    assert not is_large(10, 10)
    assert is_large(11, 10)


def test_parts_that_do_not_match_are_refused() -> None:
    one = DeferredLogits([lambda: torch.zeros(2, 3)], [2], [1])
    two = DeferredLogits([lambda: torch.zeros(1, 3)] * 2, [1, 1], [1, 1])
    with pytest.raises(ValueError, match="divided alike"):
        each_token(token_kl, [one, two])
