"""A memory that does not grow without end."""

from __future__ import annotations

from mllmu_med.caches.memory import BoundedMemory


def test_the_least_recently_used_goes() -> None:
    memory: BoundedMemory[str, int] = BoundedMemory(100)
    for key in "abc":
        memory.put(key, ord(key), 40)
    assert list(memory) == ["b", "c"]
    assert memory.get("b") == ord("b")
    memory.put("d", 1, 40)
    assert list(memory) == ["b", "d"]
    assert memory.get("a") is None
    assert memory.held == 80


def test_a_value_larger_than_all_is_held_alone() -> None:
    memory: BoundedMemory[str, int] = BoundedMemory(100)
    memory.put("a", 1, 40)
    memory.put("huge", 2, 400)
    assert list(memory) == ["huge"]
    memory.put("b", 3, 10)
    assert list(memory) == ["b"]
    assert (len(memory), memory.held) == (1, 10)


def test_a_value_that_is_put_again_counts_once() -> None:
    memory: BoundedMemory[str, int] = BoundedMemory(100)
    memory.put("a", 1, 40)
    memory.put("a", 2, 60)
    assert memory.get("a") == 2
    assert memory.held == 60
