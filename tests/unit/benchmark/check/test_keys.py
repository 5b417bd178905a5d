from __future__ import annotations

from mllmu_med.benchmark.check.keys import KeySet, Places, key_of


def test_keys_depend_on_every_text_and_on_where_one_ends() -> None:
    keys = {key_of("a"), key_of("b"), key_of("a", "b"), key_of("ab"), key_of("b", "a"), key_of("a", ""), key_of("")}
    assert len(keys) == 7
    assert all(0 <= key < 2**64 for key in keys)
    assert max(key_of(str(number)) for number in range(50)) > 2**63  # all 64 bits are used
    key_of("\ud800")  # half a surrogate can come out of JSON


def test_a_set_knows_what_was_added_and_how_often() -> None:
    keys = KeySet()
    assert 5 not in keys
    for key in (2**64 - 1, 5, 0, 5, 5, 7, 7):
        keys.add(key)
    assert all(key in keys for key in (0, 5, 7, 2**64 - 1))
    assert not any(key in keys for key in (1, 6, 8, 2**63))
    assert keys.repeated() == {5: 3, 7: 2}
    keys.add(6)
    assert 6 in keys


def test_places_tell_what_is_torn() -> None:
    places = Places()
    assert places.torn() == set()
    for key, part in ((9, 1), (9, 1), (8, 1), (8, 4), (2**64 - 1, 2), (2**64 - 1, 8), (3, 8)):
        places.add(key, part)
    assert places.torn() == {8, 2**64 - 1}
    assert places.of([8, 9, 10, 2**64 - 1, 0]) == {8: 5, 9: 1, 2**64 - 1: 10}
