"""A map of hashes behaves as a dict does, in far less memory."""

from __future__ import annotations

import tracemalloc

from hypothesis import given
from hypothesis import strategies as st

from mllmu_med.sources.compact import CompactMap, short_hash

KEYS = st.integers(0, 2**64 - 1) | st.integers(0, 30) | st.integers(0, 30).map(lambda key: key << 40)


@given(st.lists(st.tuples(KEYS, st.integers(0, 2**64 - 1)), max_size=200))
def test_it_is_a_dict(pairs: list[tuple[int, int]]) -> None:
    compact, plain = CompactMap(), dict[int, int]()
    for key, value in pairs:
        assert (key in compact) == (key in plain)
        assert compact.setdefault(key, value) == plain.setdefault(key, value)
    assert len(compact) == len(plain)
    assert dict(compact.items()) == plain
    assert not any(compact.add(key) for key in plain)
    new = next(key for key in range(300) if key not in plain)
    assert [compact.add(new), compact.add(new), compact.setdefault(new, 5)] == [True, False, 0]


def test_entries_survive_growth() -> None:
    compact = CompactMap()
    keys = [short_hash("a", str(number)) for number in range(5_000)]
    for number, key in enumerate(keys):
        compact.setdefault(key, number)
    assert [compact.setdefault(key, 0) for key in keys] == list(range(5_000))
    assert short_hash("a", "5000") not in compact


def test_fifty_bytes_per_entry() -> None:
    tracemalloc.start()
    compact = CompactMap()
    for number in range(100_000):
        compact.setdefault(number * 0x9E3779B97F4A7C15 % 2**64, number)
    held, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 5_100_000
    assert peak < 9_000_000


def test_hashes_tell_texts_parts_and_their_order_apart() -> None:
    found = {short_hash("ab"), short_hash("a", "b"), short_hash("b", "a"), short_hash("", "ab"), short_hash("肺")}
    assert len(found) == 5
    assert short_hash("肺") == short_hash("肺") < 2**64
    assert short_hash("\ud800") != short_hash("\ud801")
