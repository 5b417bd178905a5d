"""What the speed benchmarks are made of: records, lines, predictions, tables, clocks."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.speed import clock, fitting, predicting, records, tables
from benchmarks.speed.sizes import SIZES
from mllmu_med.errors import DataError, MedError


def test_drawn_records_have_slakes_shape_and_depend_on_the_seed_alone() -> None:
    work = records.drawn(12, seed=1)
    assert Counter(Counter(s.image_id for s in work.samples).values()) == {11: 24}
    assert not {s.image_id for s in work.forget} & {s.image_id for s in work.retain}
    assert len({(s.image_id, s.question) for s in work.samples}) == len(work.samples)
    words = [len(s.question.split()) for s in work.samples]
    assert sum(words) / len(words) == pytest.approx(8.1, abs=0.7)
    answers = [len(s.answer.split()) for s in work.samples]
    assert sum(answers) / len(answers) == pytest.approx(1.4, abs=0.3)
    assert records.drawn(12, seed=1).samples == work.samples
    assert records.drawn(12, seed=2).samples != work.samples
    assert work.loader("drawn-0").tobytes() != work.loader("drawn-1").tobytes()
    with pytest.raises(DataError):
        records.drawn(1, 81)


def test_slake_is_asked_for_where_it_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLLMU_MED_DATA", raising=False)
    with pytest.raises(DataError, match="MLLMU_MED_DATA"):
        records.slake(1)


def test_a_line_is_found_and_a_square_is_called_one() -> None:
    straight = fitting.line([1, 2, 4, 8], [5, 7, 11, 19])
    assert (straight.fixed, straight.each) == (pytest.approx(3), pytest.approx(2))
    assert straight.linear
    assert straight.at(100) == pytest.approx(203)
    assert "3 s + 2 s × images" in straight.words("s", "images")
    square = fitting.line([1, 2, 4, 8], [1, 4, 16, 64])
    assert square.exponent == pytest.approx(2)
    assert not square.linear
    assert "not linear" in square.words("s", "images")
    scattered = fitting.line([1, 2, 4, 8], [3, 9, 4, 11])
    assert "too scattered" in scattered.words("s", "images")
    assert fitting.line([1, 2, 4], [7, 7, 7]).linear
    with pytest.raises(MedError):
        fitting.line([1, 2], [1, 2])


def test_predictions_follow_the_formulas() -> None:
    given = predicting.Assumptions()
    name = "7B (LLaVA-1.5)"
    found = predicting.predict(name, given)
    assert found["features_gib"] == pytest.approx(1e6 / 11 * 576 * 4096 * 2 / 2**30)
    assert found["logprobs_mib"] == pytest.approx(1e6 * 5 * 4 / 2**20)
    # 950 positions a row against 11 · 610; the peers' θ0 adds half of a (4 + ε)-fold step, packing fills once.
    assert 6 < found["ratio"] < 9
    twice = predicting.predict(name, replace(given, epochs=2))
    assert found["ours_hours"] < twice["ours_hours"] < 2 * found["ours_hours"]  # θ0 and the tower are asked once
    assert twice["peers_hours"] == pytest.approx(2 * found["peers_hours"])
    assert predicting.predict(name, replace(given, gpus=4))["ours_hours"] == pytest.approx(2 * found["ours_hours"])
    larger = predicting.predict("70B (Llama-2-70B behind the same tower)", given)
    assert 8 < larger["ours_hours"] / found["ours_hours"] < 12


def test_sizes_are_what_their_names_say() -> None:
    assert SIZES["llava-7b"].image_tokens == 576
    assert SIZES["small"].image_tokens == 144
    assert SIZES["qwen2_5_vl-7b"].image_tokens == 256
    assert {name for name, size in SIZES.items() if size.language == "lora"} == {"llava-7b", "qwen2_5_vl-7b"}


def test_unequal_numbers_are_never_timed() -> None:
    assert clock.near([1000.0, 0.0], [1000.05, 0.00005], 1e-4) == pytest.approx(5e-5)
    for second in ([1000.0, 0.001], [1000.0], [1000.0, float("nan")]):
        with pytest.raises(MedError, match="nothing is timed"):
            clock.near([1000.0, 0.0], second, 1e-4)


def test_ways_take_turns_and_the_median_counts() -> None:
    order: list[str] = []
    given = {"a": iter([9.0, 3.0, 1.0, 2.0]), "b": iter([9.0, 6.0, 6.0, 6.0])}

    def way(name: str) -> float:
        order.append(name)
        return next(given[name])

    found = clock.interleaved({name: (lambda name=name: way(name)) for name in "ab"}, repeats=3)
    assert order == list("abababab")
    assert found["a"] == clock.Spread(2.0, 1.0, 3.0)
    assert found["b"].per(2) == clock.Spread(3.0, 3.0, 3.0)


def test_a_table_and_a_page_are_filled(tmp_path: Path) -> None:
    rows = [{"way": "fast", "s": 0.01234, "n": 12345}, {"way": "peers", "s": None, "n": 1}]
    text = tables.markdown(rows, {"way": "way", "s": "seconds", "n": "records"})
    assert text == "| way | seconds | records |\n| --- | --: | --: |\n| fast | 0.0123 | 12,345 |\n| peers | – | 1 |\n"
    page = tmp_path / "page.md"
    page.write_text("a\n<!-- measured:step -->\nold\n<!-- /measured:step -->\nz\n", encoding="utf-8")
    for _ in range(2):  # filling twice changes nothing
        assert tables.fill(page, {"step": "new \\1", "other": "x"}) == ["step"]
        assert page.read_text(encoding="utf-8") == (
            "a\n<!-- measured:step -->\n\nnew \\1\n\n<!-- /measured:step -->\nz\n"
        )
    with pytest.raises(SystemExit, match="for other, more; put the marks there first"):
        tables.fill(page, {"other": "x", "more": "y"})
    assert [tables.goal("g", "w", 1.0, state)["verdict"] for state in (True, False, None)] == [
        "reached", "not reached", "not measured here",
    ]  # fmt: skip
