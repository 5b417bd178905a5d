from __future__ import annotations

import pytest

from mllmu_med.evaluation.efficiency import Part, forward_flops, training_flops

N, T = 1_000, 7


def test_full_training_is_six_times_parameters_and_tokens() -> None:
    assert training_flops([Part(N, N, T)]) == 6 * N * T
    assert forward_flops([Part(N, N, T)]) == 2 * N * T


def test_adapters_cost_a_little_over_four() -> None:
    adapted = Part(N + 10, 10, T)
    assert training_flops([adapted]) == (4 * (N + 10) + 2 * 10) * T


def test_the_backward_pass_ends_where_nothing_trains_before() -> None:
    tower, decoder, head = Part(500, 0, 20), Part(N, N, T), Part(300, 0, 3)
    # the tower forward alone; the decoder in full; through the frozen head only activations' gradients
    assert training_flops([tower, decoder, head]) == 2 * 500 * 20 + 6 * N * T + 4 * 300 * 3
    trained = Part(500, 500, 20)
    frozen = Part(N, 0, T)
    assert training_flops([trained, frozen]) == 6 * 500 * 20 + 4 * N * T
    assert training_flops([tower, frozen]) == forward_flops([tower, frozen])  # nothing trains


def test_attention_by_hand() -> None:
    # one layer of width 8, 5 queries with 3 keys each: QKᵀ 2·8·3·5, the weighted sum as much again
    part = Part(N, N, 5, layers=1, width=8, context=3)
    assert part.attention == 2 * (2 * 8 * 3 * 5)
    assert forward_flops([part]) == 2 * N * 5 + 480
    assert training_flops([part]) == 6 * N * 5 + 3 * 480
    frozen = Part(N, 0, 5, layers=1, width=8, context=3)
    assert training_flops([frozen]) == forward_flops([frozen])
    # PaLM's 12 · layers · heads · head size · length for each token of training
    assert 3 * Part(0, 0, 1, layers=2, width=16, context=10).attention == 12 * 2 * 16 * 10


def test_checkpointing_repeats_the_forward_pass_of_what_is_reached() -> None:
    parts = [Part(500, 0, 20, 2, 8, 4.0), Part(N, 10, T, 2, 8, 4.0)]
    assert training_flops(parts, recomputed=True) - training_flops(parts) == pytest.approx(forward_flops(parts[1:]))


def test_the_cost_grows_with_tokens_and_with_what_trains() -> None:
    costs = [training_flops([Part(N, trained, T)]) for trained in (0, 1, 10, N)]
    assert costs == sorted(set(costs))
    assert training_flops([Part(N, N, 2 * T)]) == 2 * training_flops([Part(N, N, T)])
    assert training_flops([]) == forward_flops([]) == 0


def test_counted_backward_passes_take_the_place_of_one_each() -> None:
    assert training_flops([Part(N, N, T, backward=T)]) == training_flops([Part(N, N, T)])
    assert training_flops([Part(N, N, T, backward=2 * T)]) == (2 + 2 * 4) * N * T  # a rule on two sides
    assert training_flops([Part(N, N, 2 * T, backward=T)]) == (2 * 2 + 4) * N * T  # one pass forward was for nothing
    assert training_flops([Part(N, N, T, backward=0)]) == forward_flops([Part(N, N, T)])
    attended = Part(0, 0, T, layers=1, width=8, context=3, backward=2 * T)
    assert training_flops([attended]) == 5 * attended.attention
    again = training_flops([Part(N, N, T, backward=2 * T)], recomputed=True)
    assert again == (2 + 2 * (4 + 2)) * N * T
    assert training_flops([Part(N, N, 0, backward=0)]) == 0
