"""``--help`` stays quick because of what it does not import; modules are counted, for seconds would flake."""

from __future__ import annotations

import json
import subprocess
import sys

CODE = """
import contextlib, io, json, sys
before = set(sys.modules)
from mllmu_med.cli import main
with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
    main(["--help"])
print(json.dumps(sorted(set(sys.modules) - before)))
"""
ALLOWED = {"typer", "rich", "click", "shellingham", "pygments", "markdown_it", "mdurl", "annotated_doc", "mllmu_med",
           "typing_extensions", "colorama"}  # fmt: skip
"""What the command line itself stands on; nothing that reads data, draws or calculates."""


def test_help_imports_the_command_line_and_nothing_else() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    modules = json.loads(done.stdout.splitlines()[-1])
    packages = {name.partition(".")[0] for name in modules} - set(sys.stdlib_module_names)
    assert packages <= ALLOWED, packages - ALLOWED
    assert len(modules) < 400  # 267 when this was written; a heavy package brings more, torch alone over 1,000
    own = {name for name in modules if name.startswith("mllmu_med.") and not name.startswith("mllmu_med.cli")}
    assert own <= {"mllmu_med.cores", "mllmu_med.errors", "mllmu_med.progress"}
