"""A benchmark as one web page that opens from disk: look at samples, filter them, follow a patient or a rule."""

from __future__ import annotations

from pathlib import Path

from mllmu_med.report.benchmark_census import BenchmarkFolder, Census, take_census
from mllmu_med.report.benchmark_counts import count_tables, headline, origins
from mllmu_med.report.benchmark_filters import EVERYTHING, LABELS, Filters
from mllmu_med.report.benchmark_texts import Texts, texts_of
from mllmu_med.report.benchmark_view import page_data
from mllmu_med.report.browser import script_json
from mllmu_med.report.templating import environment, source_hash, template_text
from mllmu_med.report.text import words
from mllmu_med.report.writing import write_whole

SAMPLES = 60
"""Samples of each stratum, unless another number is asked for."""


def _note(census: Census, filters: Filters, texts: Texts) -> str:
    """Which samples the page holds, in a sentence."""
    total, shown = census.strata.total(), len(census.picked)
    said = [f"{LABELS.get(name, name)} {texts.plain(value, None, 80)}" for name, value in filters.given().items()]
    if said:
        fitting = f"{census.kept:,} of {total:,} samples fit: {words(said)}."
        return fitting if shown == census.kept else f"{fitting} Of these, {shown:,} drawn from every part are here."
    if shown == total:
        return f"All {total:,} samples are here."
    return f"{shown:,} of {total:,} samples are here, drawn from every part so that every kind is seen."


def benchmark_html(benchmark: BenchmarkFolder, *, samples: int | None = SAMPLES, filters: Filters = EVERYTHING) -> str:
    """The whole page as text; arguments and errors as for :func:`build_benchmark_page`."""
    from markupsafe import Markup

    census = take_census(benchmark, filters, limit=samples)
    texts = texts_of(benchmark, census)

    def say(text: str) -> str:
        return texts.plain(text, None, 120)

    style = template_text("page.css") + template_text("benchmark.css")
    script = template_text("benchmark.js")
    return (
        environment()
        .get_template("benchmark.html.j2")
        .render(
            title=f"The benchmark from {say(str((benchmark.manifest.get('source') or {}).get('name') or 'here'))}",
            style=Markup(style),
            style_hash=source_hash(style),
            script=Markup(script),
            script_hash=source_hash(script),
            data=Markup(script_json(page_data(benchmark, census, texts))),
            numbers=headline(census, benchmark.manifest),
            tables=count_tables(census, say),
            origins=origins(benchmark.manifest, say),
            note=_note(census, filters, texts),
            hidden=texts.hide,
        )
    )


def build_benchmark_page(
    benchmark: BenchmarkFolder, target: Path, *, samples: int | None = SAMPLES, filters: Filters = EVERYTHING
) -> Path:
    """Write the page and return its path. It is whole or absent; equal input gives equal bytes.

    The page holds everything within itself: below eight megabytes for 400 samples. Private values are marked; where
    the manifest says that they are real, they are hidden in every text, and blacked out where burned into an image.

    Args:
        benchmark: an opened benchmark; samples and images are read one at a time.
        target: the file to write; an earlier one is replaced.
        samples: of each stratum of each subset, drawn in turn from every kind of fact; None shows all.
        filters: show only samples that meet them.

    Raises:
        UsageError: a filter names what the benchmark has not.
        DataError: an image is missing or cannot be read.
    """
    write_whole(target, benchmark_html(benchmark, samples=samples, filters=filters).encode("utf-8"))
    return target
