from typing import Any

import matplotlib

from mllmu_med.report.drawing import THEMES, drawing_settings, label_of, styles_of
from mllmu_med.report.figures import ues_parts
from mllmu_med.report.reading import summaries


def test_a_users_own_settings_neither_matter_nor_change(results: dict[str, Any]) -> None:
    plain = ues_parts(results)
    with matplotlib.rc_context({"font.size": 30, "axes.facecolor": "red", "svg.hashsalt": "x"}):
        assert ues_parts(results) == plain
        assert matplotlib.rcParams["font.size"] == 30
        with drawing_settings():
            assert matplotlib.rcParams["font.size"] == 10


def test_methods_keep_their_colour_and_sign_in_every_picture(results: dict[str, Any]) -> None:
    rows = summaries(results)
    light, dark = (styles_of(rows, THEMES[theme]) for theme in ("light", "dark"))
    methods = [row.name for row in rows if row.role == "method"]
    assert len({light[name] for name in methods}) == len({light[name][0] for name in methods}) == 6
    assert [light[name][1] for name in methods] == [dark[name][1] for name in methods]
    assert {light[name][1] for name in ("theta0", "oracle")} == {"*"}


def test_long_labels_are_cut(results: dict[str, Any]) -> None:
    results["rows"][-1]["label"] = "a\n" + "b" * 60
    assert label_of(summaries(results)[-1]) == "a " + "b" * 25 + "…"
