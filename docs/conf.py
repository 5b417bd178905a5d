"""Sphinx configuration; `make docs` builds without a warning and without network."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "extensions"))

from mllmu_med import __version__

project = "MLLMU-Med"
copyright = "The MLLMU-Med developers"
release = version = __version__

extensions = ["myst_parser", "from_code"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
exclude_patterns = ["_build", "extensions"]

html_theme = "furo"
html_title = "MLLMU-Med"
