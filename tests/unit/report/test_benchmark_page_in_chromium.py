"""The benchmark's page in a real browser: filters, links and ledger work, and hostile text stays text."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from mllmu_med.report.benchmark_page import build_benchmark_page
from tests.unit.report.fake_benchmark import FakeBenchmark, make_benchmark

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="chromium is not on PATH: the page was not opened in a browser"
)
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-component-update",
    "--disable-background-networking", "--disable-sync", "--enable-logging=stderr", "--dump-dom",
)  # fmt: skip
ATTACK = "<img src=x onerror=\"document.title='owned'\"></script><script>document.title='owned'</script>"


Browser = Callable[[str], tuple[str, str]]


@pytest.fixture(scope="module")
def opened(page: Path, tmp_path_factory: pytest.TempPathFactory) -> Browser:
    """Open the page at a link: its document, and what the browser logged."""
    profile = tmp_path_factory.mktemp("profile")

    def run(link: str) -> tuple[str, str]:
        command = [str(CHROMIUM), *FLAGS, f"--user-data-dir={profile}", f"{page.as_uri()}{link}"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
        return done.stdout, done.stderr

    return run


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    benchmark = make_benchmark()
    samples = [replace(s, question=ATTACK) if s.id == "w0" else s for s in benchmark.everything]
    return build_benchmark_page(FakeBenchmark(samples, benchmark.images), tmp_path_factory.mktemp("page") / "look.html")


def test_samples_are_shown_and_nothing_foreign_runs(opened: Browser) -> None:
    dom, log = opened("")
    assert 'data-ready="true"' in dom
    assert dom.count('<article class="sample card">') == 10
    assert "Samples 1 to 10 of 28" in dom
    assert "<mark>MRN-704311<small>mrn</small></mark>" in dom
    assert "&lt;img src=x onerror=" in dom
    assert not re.search(r"<img[^>]*onerror", dom)
    assert "<title>The benchmark from fake" in dom
    assert not re.search("Content Security Policy|Uncaught|ERR_", log)


def test_a_link_selects(opened: Browser) -> None:
    dom, _ = opened("#subset=retain&class=mrn")
    assert "Samples 1 to 3 of 3" in dom
    assert dom.count('class="chip private keep"') == 4
    assert '<mark class="keep">Marco Haddad<small>name</small></mark>' in dom
    assert dom.count('<rect x="40" y="30" width="80" height="20" class="edge">') == 1
    assert 'viewBox="0 0 320 240"' in dom


def test_the_ledger_of_a_patient_and_of_a_rule(opened: Browser) -> None:
    dom, _ = opened("#patient=p1")
    assert "Ledger of p1" in dom
    assert "one of 9 × 10⁶" in dom
    assert 'href="#sample=p1%2Fburned"' in dom
    assert "Samples 1 to 3 of 3" in dom
    dom, _ = opened("#rule=rule-1")
    assert "Ledger of rule-1" in dom
    assert "Samples 1 to 5 of 5" in dom  # one is of an unseen image
    assert "rule: rule-1 ✕" in dom


def test_text_hierarchy_and_part_of_a_patients_id_select_too(opened: Browser) -> None:
    assert "Samples 1 to 2 of 2" in opened("#find=SIDE+laterality&subset=forget")[0]
    assert "Samples 1 to 3 of 3" in opened("#request=section%3Didentity&patient=p")[0]


def test_what_the_page_has_not_is_said_and_breaks_nothing(opened: Browser) -> None:
    dom, log = opened("#class=ssn&patient=constructor&rule=toString")
    assert "None of the samples on this page fits" in dom
    assert "class: ssn ✕" in dom
    assert "Uncaught" not in log
    assert 'id="browser-error" class="card error" hidden' in dom
