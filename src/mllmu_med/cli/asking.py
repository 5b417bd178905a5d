"""The verb ask: a model behind a URL, as a row of a finished run."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from mllmu_med.cli import printing
from mllmu_med.cli.options import Debug, DryRun, Json, Quiet, Verbose
from mllmu_med.errors import UsageError
from mllmu_med.progress import log


def _body(text: str | None) -> dict[str, Any]:
    from mllmu_med.folders import parse_json

    try:
        found = parse_json(text) if text else {}
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise UsageError("--body must be a JSON object, e.g. '{\"top_k\": 1}'")
    return found


def ask(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run's folder, or its name below runs.")],
    base_url: Annotated[
        str, typer.Option("--base-url", metavar="URL", help="The server, e.g. http://localhost:8000/v1.")
    ],
    model: Annotated[str, typer.Option("--model", metavar="NAME", help="The model, as the server names it.")],
    row: Annotated[str, typer.Option("--row", metavar="NAME", help="Name of the row in every table.")] = "served",
    attacks: Annotated[
        bool, typer.Option("--attacks", help="Also carry out the black-box attacks of the run's recipe.")
    ] = False,
    key_variable: Annotated[
        str, typer.Option("--key-variable", metavar="NAME", help="Environment variable that holds the server's key.")
    ] = "OPENAI_API_KEY",
    concurrency: Annotated[int, typer.Option("--concurrency", min=1, help="Requests at a time.")] = 8,
    timeout: Annotated[float, typer.Option("--timeout", min=0.001, help="Seconds for one request.")] = 120.0,
    retries: Annotated[int, typer.Option("--retries", min=0, help="Further tries of a request that failed.")] = 8,
    body: Annotated[
        str | None, typer.Option("--body", metavar="JSON", help="Further fields of each request, as a JSON object.")
    ] = None,
    afresh: Annotated[bool, typer.Option("--afresh", help="Ask everything again, and replace the row.")] = False,
    trust_host: Annotated[bool, typer.Option("--trust-host", help="The server may see values of real people.")] = False,
    dry_run: DryRun = False,
    json: Json = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Ask a served model what the models of a run were asked.

    Any server that speaks OpenAI's chat completions and takes images: vLLM, SGLang, llama.cpp and others. Its answers
    become a row of the run, without likelihoods and cost. Interrupted, the same command goes on.

    \b
    Examples:
      mllmu-med ask runs/phantom --base-url http://localhost:8000/v1 --model llava-med --dry-run
      mllmu-med ask runs/phantom --base-url http://localhost:8000/v1 --model llava-med --row after-unlearning
      mllmu-med score runs/phantom
    """
    from mllmu_med import api

    settings: dict[str, Any] = {
        "base_url": base_url, "model": model, "row": row, "attacks": attacks, "key_variable": key_variable,
        "concurrency": concurrency, "timeout": timeout, "retries": retries, "body": _body(body),
        "trust_host": trust_host,
    }  # fmt: skip
    folder = api.find_folder(run)
    if dry_run:
        printing.print_asking(api.plan_asking(folder, **settings), json=json)
    else:
        made = api.ask(folder, **settings, afresh=afresh)
        log.info("score it with: mllmu-med score %s", folder)
        printing.print_paths({"row": made}, json=json)
