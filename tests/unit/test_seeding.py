"""Randomness: a function of its keys, the same in every process."""

from __future__ import annotations

import random
import subprocess
import sys

from mllmu_med.seeding import derive, numpy_rng, permutation, rng, torch_rng


def test_every_key_its_type_and_its_order_count() -> None:
    seeds = [derive(0), derive(1), derive("0"), derive(0, "a"), derive("a", 0), derive(0, "a", 1), derive(0, "a1")]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_keys_cannot_run_into_each_other() -> None:
    assert derive("ab", "c") != derive("a", "bc")


def test_the_same_in_another_process_whatever_its_hash_seed() -> None:
    code = "from mllmu_med.seeding import derive, permutation; print(derive(3, 'pairs', 1), permutation(5, 3, 'x'))"
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        ).stdout
        for seed in ("1", "2")
    }
    assert outputs == {f"{derive(3, 'pairs', 1)} {permutation(5, 3, 'x')}\n"}


def test_generators_repeat_and_leave_the_global_one_alone() -> None:
    random.seed(5)
    before = random.getstate()
    assert rng(1, "a").random() == rng(1, "a").random() != rng(1, "b").random()
    assert numpy_rng(1, "a").random() == numpy_rng(1, "a").random() != numpy_rng(1, "b").random()
    assert torch_rng(1, "a").initial_seed() == torch_rng(1, "a").initial_seed() == derive(1, "a")
    assert random.getstate() == before


def test_a_permutation_holds_each_index_once_and_moves() -> None:
    order = permutation(100, 0, "order")
    assert sorted(order) == list(range(100))
    assert order != list(range(100))
    assert permutation(0, 1) == []
