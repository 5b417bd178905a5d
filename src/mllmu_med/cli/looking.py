"""The verbs that look: report, check, show, ls, doctor."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from mllmu_med.cli import printing
from mllmu_med.cli.options import Debug, DryRun, Json, Quiet, Verbose
from mllmu_med.errors import IntegrityError

RunName = Annotated[str, typer.Argument(metavar="RUN", help="Folder of a run, or its name below runs/.")]


class Things(StrEnum):
    """What ``ls`` can list."""

    RECIPES = "recipes"
    SOURCES = "sources"
    METHODS = "methods"
    ATTACKS = "attacks"
    RUNS = "runs"


def score(
    run: RunName, dry_run: DryRun = False, json: Json = False, verbose: Verbose = False, quiet: Quiet = False,
    debug: Debug = False,
) -> None:  # fmt: skip
    """Compute every metric and score of a finished run again, and its page.

    From its stored answers and attempts; no model is loaded.

    \b
    Examples:
      mllmu-med score phantom
      mllmu-med score runs/slake --json
    """
    from mllmu_med import api

    folder = api.find_folder(run)
    api.read_results(folder)
    if dry_run:
        printing.print_paths({"would write": folder / api.RESULTS, "and": api.page_of(folder)}, json=json)
    else:
        printing.print_result(api.score(folder), json=json)


def report(
    run: RunName, dry_run: DryRun = False, json: Json = False, verbose: Verbose = False, quiet: Quiet = False,
    debug: Debug = False,
) -> None:  # fmt: skip
    """Write the page of a finished run again.

    From its stored results and answers; no model is loaded.

    \b
    Examples:
      mllmu-med report phantom
      mllmu-med report runs/slake
    """
    from mllmu_med import api

    folder = api.find_folder(run)
    api.read_results(folder)
    if dry_run:
        printing.print_paths({"would write": api.page_of(folder)}, json=json)
    else:
        printing.print_paths({"page": api.write_report(folder)}, json=json)


def check(
    folder: Annotated[str, typer.Argument(metavar="FOLDER", help="A benchmark, a model, or a whole run.")],
    every: Annotated[bool, typer.Option("--all", help="Every finding, not only the first few of a kind.")] = False,
    json: Json = False, verbose: Verbose = False, quiet: Quiet = False, debug: Debug = False,
) -> None:  # fmt: skip
    """Verify a benchmark, a model or a whole run.

    Compares every file with its manifest; in a benchmark also subsets, spans, uniqueness and images.
    Exit code 6 if anything is wrong.

    \b
    Examples:
      mllmu-med check runs/phantom
      mllmu-med check runs/phantom/benchmark --all --json
    """
    from mllmu_med import api

    results = api.check(api.find_folder(folder), every=every)
    printing.print_check(results, json=json)
    bad = [str(result.folder) for result in results if not result.ok]
    if bad:
        raise IntegrityError(f"{', '.join(bad)}: see the findings above. Build the benchmark again.")


def show(
    folder: Annotated[str, typer.Argument(metavar="FOLDER", help="A run (its table), or a benchmark (what it holds).")],
    page: Annotated[
        Path | None, typer.Option("--page", metavar="FILE.html", help="Write a page of samples, to open in a browser.")
    ] = None,
    sheet: Annotated[
        Path | None, typer.Option("--sheet", metavar="FILE.png", help="Write a contact sheet of samples.")
    ] = None,
    subset: Annotated[
        str | None, typer.Option("--subset", help="Only of this subset, e.g. forget/privacy, forget or retain.")
    ] = None,
    phi_class: Annotated[
        str | None, typer.Option("--class", help="Only with private values of this class, e.g. mrn.")
    ] = None,
    error_type: Annotated[
        str | None, typer.Option("--error-type", help="Only with wrong facts of this type, e.g. laterality.")
    ] = None,
    form: Annotated[
        str | None, typer.Option("--form", help="Only of this form: leak, direct, text or burned.")
    ] = None,
    patient: Annotated[str | None, typer.Option("--patient", help="Only of this patient.")] = None,
    request: Annotated[
        str | None,
        typer.Option("--request", metavar="LEVEL=NAME", help="Only below this node, e.g. institution=..."),
    ] = None,
    find: Annotated[
        str | None, typer.Option("--find", metavar="TEXT", help="Only with these words in id, question or answers.")
    ] = None,
    samples: Annotated[
        int | None,
        typer.Option(
            "--samples", min=0, help="Samples of each stratum; on a sheet, of each subset.",
            show_default="2; on a page 60, on a sheet 8",
        ),
    ] = None,
    json: Json = False, verbose: Verbose = False, quiet: Quiet = False, debug: Debug = False,
) -> None:  # fmt: skip
    """Print the results of a run, or look at a benchmark.

    On the terminal private values are masked. A page and a sheet mark them, unless they are those of real people.

    \b
    Examples:
      mllmu-med show phantom
      mllmu-med show runs/phantom/benchmark --samples 5
      mllmu-med show phantom --page look.html --sheet look.png
      mllmu-med show phantom --subset forget/privacy --class mrn --form leak
      mllmu-med show phantom --find "left lung" --json
    """
    from mllmu_med import api
    from mllmu_med.report.benchmark_filters import EVERYTHING, Filters

    path = api.find_folder(folder)
    filters = Filters(subset, phi_class, error_type, form, patient, find, request)
    if page is not None or sheet is not None:
        written = {}
        if page is not None:
            count = {} if samples is None else {"samples": samples}
            written["page"] = api.write_benchmark_page(path, page, filters=filters, **count)
        if sheet is not None:
            count = {} if samples is None else {"per_subset": samples}
            written["sheet"] = api.write_contact_sheet(path, sheet, filters=filters, **count)
        printing.print_paths(written, json=json)
    elif filters != EVERYTHING or samples is not None or api.is_benchmark(path) or api.is_only_built(path):
        preview = api.describe_benchmark(path, samples=2 if samples is None else samples, filters=filters)
        printing.print_benchmark(preview, json=json)
    else:
        printing.print_results(api.read_results(path), json=json)


def list_things(
    things: Annotated[Things | None, typer.Argument(help="What to list.", show_default="all of them")] = None,
    json: Json = False, verbose: Verbose = False, quiet: Quiet = False, debug: Debug = False,
) -> None:  # fmt: skip
    """List recipes, sources, methods, attacks and runs; plug-ins included.

    \b
    Examples:
      mllmu-med ls
      mllmu-med ls methods
      mllmu-med ls runs --json
    """
    from mllmu_med import listing

    tables = {
        "recipes": listing.recipes,
        "sources": listing.sources,
        "methods": listing.methods,
        "attacks": listing.attacks,
        "runs": listing.runs,
    }
    wanted = [things.value] if things else list(tables)
    printing.print_lists({name: tables[name]() for name in wanted}, json=json)


def doctor(json: Json = False, verbose: Verbose = False, quiet: Quiet = False, debug: Debug = False) -> None:
    """Look at this machine, and say what to mend.

    Python, libraries, processor, memory, disk, data.

    \b
    Examples:
      mllmu-med doctor
      mllmu-med doctor --json
    """
    from mllmu_med.doctor import examine

    printing.print_findings(examine(Path.cwd()), json=json)
