"""The benchmark's page: whole, self-contained, and deaf to hostile text; real values are nowhere in it."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy
import pytest
from PIL import Image

from mllmu_med.benchmark.sample import Node, Probe, Region, Sample, Subset
from mllmu_med.errors import DataError, UsageError
from mllmu_med.report.benchmark_filters import Filters
from mllmu_med.report.benchmark_page import benchmark_html, build_benchmark_page
from tests.unit.report.fake_benchmark import BURNED, NAMES, NUMBERS, FakeBenchmark, make_benchmark, picture, sample
from tests.unit.report.page_reader import Page

HOSTILE = (
    "<script>alert(1)</script>",
    "</script><img src=x onerror=alert(1)>",
    "<!--<script>",
    '" onmouseover="alert(1)',
    "javascript:alert(1)",
    "{{7*7}}{% raw %}",
    "\u202egnp.exe \x00\u2066",
    "&lt;b&gt; ${1} `x` \u2028",
    "long " * 5000,
)


def strings(value: Any) -> Iterator[str]:
    """Every string in JSON."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield key
            yield from strings(item)
    elif isinstance(value, list):
        for item in value:
            yield from strings(item)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_benchmark_page(make_benchmark(), tmp_path_factory.mktemp("page") / "look.html")


@pytest.fixture(scope="module")
def page(built: Path) -> Page:
    return Page(built.read_text(encoding="utf-8"))


def test_the_page_is_one_file(built: Path, page: Page) -> None:
    assert [path.name for path in built.parent.iterdir()] == ["look.html"]
    assert len(page.data["samples"]) == 28
    assert "The benchmark from fake" in page.text
    assert "All 28 samples are here." in page.text
    assert len(built.read_bytes()) < 200_000


def test_every_count_has_its_link(page: Page) -> None:
    links = [attributes["href"] or "" for tag, attributes in page.tags if tag == "a"]
    assert "#subset=forget%2Fincorrectness&stratum=wrong_image" in links
    assert "#class=mrn&subset=holdout" in links
    assert "#error-type=laterality" in links
    assert all(link.startswith("#") for link in links)


def test_the_page_asks_for_nothing_and_runs_only_its_own_script(page: Page) -> None:
    policy = next(str(a["content"]) for tag, a in page.tags if tag == "meta" and a.get("http-equiv"))
    assert policy.startswith("default-src 'none'; img-src data:; ")
    assert "unsafe" not in policy
    for kind, text in (("style", page.content["style"][0]), ("script", page.content["script"][1])):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy
        assert not re.search(r"url\(|@import|https?://(?!www\.w3\.org/2000/svg)", text)
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacent|document\.write|eval\(|Function\(|fetch\(|XMLHttp|\.style\b",
        page.content["script"][1],
    )
    for tag, attributes in page.tags:
        assert tag not in ("iframe", "object", "embed", "base", "img")
        assert not [name for name in attributes if name.startswith("on") or name in ("style", "src")]


def test_the_same_benchmark_gives_the_same_bytes(built: Path, tmp_path: Path) -> None:
    again = build_benchmark_page(make_benchmark(), tmp_path / "again.html")
    assert again.read_bytes() == built.read_bytes()


def hostile_benchmark() -> FakeBenchmark:
    samples: list[Sample] = []
    images: dict[str, bytes] = {}
    for number, text in enumerate(HOSTILE):
        images[f"{number}{text}"] = picture(number)
        samples += [
            replace(
                made, id=f"{made.id}{text}", question=text, clean_answer=text, language=text, modality=text,
                body_part=text, content_type=text, form=text, patient_id=text, rule_id=text, error_type=text,
                severity=text, accepted=(text,), phrasings=(text,), hierarchy=(Node(text, text),),
                fact_id=made.fact_id and text, regions=(Region(text, 0, 0, 9, 9),), image_id=f"{number}{text}",
                probes=(Probe(text, text, text, text, text, text), Probe("n", text, "other", f"{number}{text}")),
                spans=tuple(replace(span, phi_class=text) for span in made.spans),
            )
            for made in make_benchmark().everything
        ]  # fmt: skip
    return FakeBenchmark(
        samples, images, source={"name": HOSTILE[1], "fingerprint": HOSTILE[0]}, seed=HOSTILE[1],
        skipped={HOSTILE[0]: 3}, patients={HOSTILE[0]: 3}, package=HOSTILE[2], rules=[HOSTILE[0]],
    )  # fmt: skip


def test_hostile_text_stays_text() -> None:
    text = benchmark_html(hostile_benchmark(), samples=None)
    page = Page(text)
    assert [tag for tag, _ in page.tags].count("script") == 2
    assert not [a for _, attributes in page.tags for a in attributes if a.startswith("on")]
    assert not [a for tag, a in page.tags if tag == "a" and not str(a["href"]).startswith("#")]
    assert not [tag for tag, _ in page.tags if tag == "img"]
    assert not re.search("[\x00-\x08\x0b\x0c\x0e-\x1f\u202a-\u202e\u2066-\u2069\u2028\u2029]", text)
    embedded = text.split('id="browser-data">')[1].split("</script>")[0]
    assert not re.search("[<>&]", embedded)
    assert len(page.data["samples"]) == 28 * len(HOSTILE)
    assert HOSTILE[1] in {sample["question"] for sample in page.data["samples"]}
    assert "{{7*7}}" in page.text
    assert max(map(len, strings(page.data["samples"]))) < 700


def real(benchmark: FakeBenchmark) -> FakeBenchmark:
    """The same benchmark, as if its values were those of real people, told wherever text may stand."""
    told = f"{NAMES['p2']} / {NUMBERS['p3'].lower()}"
    samples = [
        replace(
            made, id=f"{made.id} {told}", modality=told, body_part=told, content_type=told, question=f"Is {told}?",
            phrasings=(told,), probes=(*made.probes, Probe(told, told, answer=told, language=told)),
            accepted=(told,), hierarchy=(Node("patient", told), *made.hierarchy), language=told,
        )
        for made in benchmark.everything
    ]  # fmt: skip
    manifest = {"plan": {"private_values": "request"}, "source": {"name": told}, "skipped": {told: 1}}
    return FakeBenchmark(samples, benchmark.images, **manifest)


def test_real_values_are_nowhere_on_the_page() -> None:
    text = benchmark_html(real(make_benchmark()), filters=Filters(text=NAMES["p2"]))
    page = Page(text)
    everything = f"{page.text}\n{json.dumps(page.data, ensure_ascii=False)}".lower()
    for value in (*NAMES.values(), *NUMBERS.values()):
        assert value.lower() not in everything
        assert value.split()[-1].lower() not in everything
    assert "[name] / [mrn]" in everything
    assert "those of real people" in page.text
    assert page.data["hidden"]
    leak = next(entry for entry in page.data["samples"] if entry["form"] == "leak")
    assert leak["answers"][0][2] == ["A small nodule; the patient is ", ["[name]"], ", record ", ["[mrn]"], "."]
    assert leak["alt"].startswith("The image asked about: [name]")
    assert page.data["ledger"]["patient"]["p1"]["facts"][0]["values"][0][0].startswith("[")


def test_real_burned_values_are_black_in_every_sample_that_shows_the_image() -> None:
    def brightest(benchmark: FakeBenchmark) -> dict[str, int]:
        data = Page(benchmark_html(benchmark)).data
        found = {}
        for entry in data["samples"]:
            if entry.get("image") is not None:
                address, width, height = data["images"][entry["image"]]
                image = Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2])))
                across, down = image.width / width, image.height / height
                box = (BURNED.x0 * across, BURNED.y0 * down, BURNED.x1 * across, BURNED.y1 * down)
                found[entry["id"].split()[0]] = int(numpy.asarray(image.crop(tuple(map(round, box)))).max())  # type: ignore[arg-type]
        return found

    shown, hidden = brightest(make_benchmark()), brightest(real(make_benchmark()))
    assert shown["p1/burned"] > 200
    assert shown["p1/sibling"] > 200
    assert max(hidden["p1/burned"], hidden["p1/sibling"], hidden["p2/burned"]) < 20
    assert hidden["p1/leak"] > 40  # other images are as they were


def test_filters_are_said_and_kept() -> None:
    page = Page(benchmark_html(make_benchmark(), samples=1, filters=Filters("retain", phi_class="mrn")))
    assert {entry["patient"] for entry in page.data["samples"]} == {"p2"}
    assert len(page.data["samples"]) == 2
    assert "3 of 28 samples fit: subset retain and class mrn. Of these, 2 drawn from every part are here." in page.text
    nothing = Page(benchmark_html(make_benchmark(), filters=Filters("test", patient="p1")))
    assert nothing.data["samples"] == []
    assert "0 of 28 samples fit" in nothing.text
    with pytest.raises(UsageError, match="did you mean 'leak'"):
        benchmark_html(make_benchmark(), filters=Filters(form="leek"))


def test_a_failure_leaves_the_earlier_page(tmp_path: Path) -> None:
    target = tmp_path / "page.html"
    build_benchmark_page(make_benchmark(), target, samples=1)
    before = target.read_bytes()
    broken = make_benchmark()
    broken.images["i-v0"] = b"not an image"
    with pytest.raises(DataError, match="i-v0"):
        build_benchmark_page(broken, target)
    assert target.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]


def test_the_page_may_lie_in_a_new_folder(tmp_path: Path) -> None:
    assert build_benchmark_page(make_benchmark(), tmp_path / "a" / "b.html", samples=0).is_file()


def test_a_large_benchmark_is_quick_and_small() -> None:
    """10,000 samples: only the chosen ones' images are read, and 420 of them stay below eight megabytes."""
    noise = numpy.random.default_rng(0)
    encoded = []
    for _ in range(4):
        buffer = io.BytesIO()
        pixels = noise.normal(110, 25, (300, 300)).clip(0, 255).astype(numpy.uint8)
        Image.fromarray(pixels).save(buffer, "JPEG")
        encoded.append(buffer.getvalue())
    subsets = tuple(Subset)
    samples = [
        sample(f"s{n}", subset=subsets[n % 6], image_id=f"i{n // 2}", question=f"What is shown in picture {n}?",
               phrasings=("What is it?",) * 5) for n in range(10_000)
    ]  # fmt: skip
    benchmark = FakeBenchmark(samples, {f"i{n}": encoded[n % 4] for n in range(5000)})
    began = time.process_time()
    text = benchmark_html(benchmark, samples=70)
    assert time.process_time() - began < 10  # about one second where nothing else runs
    assert text.count('"stratum":"general"') == 420
    assert len(text) < 8_000_000
    assert len(benchmark.reads) <= 420
