import base64
import hashlib
import re
from dataclasses import replace
from pathlib import Path

import pytest

from mllmu_med.errors import DataError
from mllmu_med.folders import verify
from mllmu_med.report import page as page_module
from mllmu_med.report.page import build_report
from tests.unit.report.fake_run import FakeBenchmark, make_benchmark, make_outputs, make_results
from tests.unit.report.page_reader import Page

HOSTILE = (
    "<script>alert(1)</script>",
    "</script><img src=x onerror=alert(1)>",
    '" onmouseover="alert(1)',
    "javascript:alert(1)",
    "{{7*7}}{% raw %}",
    "\u202egnp.exe \x00\u2066",
    "=cmd()|' /C calc'!A0",
    "&lt;b&gt; ${1} `x`",
    "long " * 2000,
)
FETCHING = {"src", "href", "srcset", "action", "data", "poster", "xlink:href", "background"}


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    benchmark = make_benchmark()
    return build_report(make_results(), benchmark, make_outputs(benchmark), tmp_path_factory.mktemp("run") / "report")


@pytest.fixture(scope="module")
def page(built: Path) -> Page:
    return Page(_text(built))


def test_the_folder_is_whole(built: Path) -> None:
    manifest = verify(built.parent)
    assert manifest["format"] == "mllmu-med/report/1"
    assert manifest["rows"][0] == "theta0"
    assert list(manifest["files"]) == ["index.html"]


def test_every_row_and_verdict_is_on_the_page(page: Page) -> None:
    for row in make_results()["rows"]:
        assert row["label"] in page.text
    for row in make_results()["rows"]:
        if row["role"] == "method":
            assert row["verdict"]["text"] in page.text
    assert "Six methods were asked to unlearn" in page.text


def test_verdicts_come_before_everything_else(built: Path) -> None:
    places = [_text(built).index(f'<section id="{name}"') for name in
              ("verdicts", "picture", "scores", "details", "probes", "training", "browse", "provenance")]  # fmt: skip
    assert places == sorted(places)


def test_the_page_asks_for_nothing(page: Page) -> None:
    for tag, attributes in page.tags:
        assert tag not in ("iframe", "object", "embed", "base")
        assert tag != "link" or attributes["href"] == "data:,"
        assert not [name for name in attributes if name.startswith("on") or name == "style"], (tag, attributes)
        for name in FETCHING & attributes.keys():
            value = attributes[name] or ""
            assert value.startswith(("#", "data:image/svg+xml;base64,", "data:,")), (tag, name, value[:60])
    assert "@import" not in page.content["style"][0]
    assert "url(" not in page.content["style"][0]
    script = page.content["script"][1]
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacent|document\.write|eval\(|Function\(|fetch\(|XMLHttp", script
    )


def test_only_our_style_and_script_may_run(page: Page) -> None:
    policy = next(str(a["content"]) for tag, a in page.tags if tag == "meta" and a.get("http-equiv"))
    assert policy.startswith("default-src 'none'; img-src data:; ")
    assert "unsafe" not in policy
    assert len(page.content["script"]) == 2
    for kind, text in (("style", page.content["style"][0]), ("script", page.content["script"][1])):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy


def test_the_same_input_gives_the_same_bytes(built: Path, tmp_path: Path) -> None:
    benchmark = make_benchmark()
    again = build_report(make_results(), benchmark, make_outputs(benchmark), tmp_path / "report")
    assert again.read_bytes() == built.read_bytes()


def test_hostile_text_stays_text(tmp_path: Path) -> None:
    results, benchmark = make_results(), make_benchmark()
    samples = [
        replace(s, id=f"{s.id}{HOSTILE[i % 8]}", question=HOSTILE[i % 9]) for i, s in enumerate(benchmark.samples())
    ]
    hostile = FakeBenchmark(samples, benchmark._images)
    outputs = {
        name: [replace(output, generated=HOSTILE[(i + len(name)) % 9]) for i, output in enumerate(said)]
        for name, said in make_outputs(hostile).items()
    }
    for i, row in enumerate(results["rows"]):
        text = HOSTILE[i % 8]
        row |= {"label": text, "summary": text, "source": text, "verdict": {"level": "success", "text": text}}
        row["by_class"] = {text: 0.5}
        row["by_probe"] = {text: {"span_recall": 0.5, "wrong_agreement": 0.5}}
        row["by_error_type"] = {text: {"suppression": 0.5, "restoration": 0.5}}
        row["ues"]["privacy"] |= {"reason": text, "robust_probe": text}
    results |= {"title": HOSTILE[0], "recipe": {HOSTILE[0]: list(HOSTILE)}}
    results["provenance"] |= {"source": HOSTILE[1], HOSTILE[2]: HOSTILE[3], "seconds": {HOSTILE[0]: 1.0}}
    results["benchmark"]["counts"][HOSTILE[0]] = {HOSTILE[1]: 3}
    text = _text(build_report(results, hostile, outputs, tmp_path / "report"))

    page = Page(text)
    assert [tag for tag, _ in page.tags].count("script") == 2
    assert not [a for _, attributes in page.tags for a in attributes if a.startswith("on")]
    assert {str(a["src"]).split(",")[0] for tag, a in page.tags if tag == "img"} == {"data:image/svg+xml;base64"}
    assert not [a for tag, a in page.tags if tag == "a" and not str(a["href"]).startswith("#")]
    assert "{{7*7}}" in page.text
    assert "49" not in next(line for line in page.text.splitlines() if "{{7*7}}" in line)
    assert "<script>alert(1)</script>" in page.text
    assert not re.search("[\x00-\x08\x0b\x0c\x0e-\x1f\u202a-\u202e\u2066-\u2069]", text)
    assert len(page.data["samples"]) == 45
    said = {answer for sample in page.data["samples"] for answer in sample["answers"] if isinstance(answer, str)}
    assert "</script><img src=x onerror=alert(1)>" in said
    assert max(map(len, said)) < 700


def test_nothing_measured_shows_dashes(tmp_path: Path) -> None:
    results, benchmark = make_results(), make_benchmark()
    for row in results["rows"]:
        row |= {"metrics": {}, "by_class": {}, "by_error_type": {}, "by_probe": {}, "cost": None, "curves": []}
        row["ues"] = {task: {"value": float("nan"), "reason": f"no {task}"} for task in ("privacy", "incorrectness")}
    results |= {"provenance": {}, "benchmark": {}, "recipe": {}}
    page = Page(_text(build_report(results, benchmark, {}, tmp_path / "report")))
    assert not re.search(r"\b(None|nan|NaN|null|undefined)\b", page.text)
    assert "–" in page.text
    assert "no privacy" in page.text
    assert page.data["samples"] == []


def test_a_large_run_stays_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("trade_off", "ues_parts", "training_curves"):
        monkeypatch.setattr(page_module, name, lambda *given: "<svg></svg>")
    benchmark = make_benchmark()
    path = build_report(make_results(), benchmark, make_outputs(benchmark), tmp_path / "report", max_samples=12)
    assert len(Page(_text(path)).data["samples"]) == 12
    assert "12 of 45 samples" in _text(path)


def test_a_failure_leaves_the_earlier_report(built: Path) -> None:
    before = built.read_bytes()
    with pytest.raises(DataError, match="format"):
        build_report({"format": "x", "rows": [{}]}, make_benchmark(), {}, built.parent)
    assert built.read_bytes() == before
    assert [path.name for path in built.parent.parent.iterdir()] == ["report"]
