"""``python -m mllmu_med``."""

from __future__ import annotations

import sys

from mllmu_med.cli import main

if __name__ == "__main__":
    sys.exit(main())
