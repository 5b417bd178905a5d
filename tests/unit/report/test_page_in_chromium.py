"""The page in a real browser: the script runs under its own policy, and hostile answers stay text."""

import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from mllmu_med.report.page import build_report
from tests.unit.report.fake_run import make_benchmark, make_outputs, make_results

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="chromium is not on PATH: the page was not opened in a browser"
)
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-component-update",
    "--disable-background-networking", "--disable-sync", "--enable-logging=stderr", "--dump-dom",
)  # fmt: skip


def _opened(page: Path, profile: Path, link: str = "") -> tuple[str, str]:
    command = [str(CHROMIUM), *FLAGS, f"--user-data-dir={profile}", f"{page.as_uri()}{link}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return done.stdout, done.stderr


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    benchmark = make_benchmark()
    outputs = make_outputs(benchmark)
    attack = "<img src=x onerror=\"document.title='owned'\"></script><script>document.title='owned'</script>"
    outputs["npo"] = [replace(output, generated=attack) for output in outputs["npo"]]
    return build_report(make_results(), benchmark, outputs, tmp_path_factory.mktemp("run") / "report")


def test_the_browser_shows_samples_and_runs_nothing_foreign(report: Path, tmp_path: Path) -> None:
    dom, log = _opened(report, tmp_path)
    assert 'data-ready="true"' in dom
    assert dom.count('<article class="sample card">') == 8
    assert "Samples 1 to 8 of 45" in dom
    assert "<mark>MRN-704311</mark>" in dom
    assert "<title>Private data and wrong facts" in dom
    assert "&lt;img src=x onerror=" in dom
    assert not re.search(r"<img[^>]*onerror", dom)
    assert not re.search("Content Security Policy|Uncaught|ERR_", log)


def test_a_link_sets_the_filters(report: Path, tmp_path: Path) -> None:
    dom, _ = _opened(report, tmp_path, "#browse?model=theta0&outcome=leaks&where=forget/incorrectness|wrong_text")
    assert "Samples 1 to 3 of 3" in dom
    assert dom.count("said bad picked") == 3
