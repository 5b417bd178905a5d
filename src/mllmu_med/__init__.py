"""MLLMU-Med: machine unlearning for biomedical multimodal LLMs.

The public API is a handful of plain functions, one per command of ``mllmu-med``:

    from mllmu_med import load_recipe, run
    result = run(load_recipe("phantom", "seed=1"))
    print(result.page)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

__all__ = [
    "__version__", "ask", "attack", "build", "check", "compare", "evaluate", "learn", "load_recipe", "metaeval", "plan",
    "run", "score", "tune", "unlearn", "write_report",
]  # fmt: skip

if TYPE_CHECKING:
    from mllmu_med.api import (
        ask,
        attack,
        build,
        check,
        compare,
        evaluate,
        learn,
        load_recipe,
        metaeval,
        plan,
        run,
        score,
        tune,
        unlearn,
        write_report,
    )


def __getattr__(name: str) -> Any:
    """Import the API when it is first used: ``import mllmu_med`` alone costs nothing."""
    if name in __all__:
        from mllmu_med import api

        return getattr(api, name)
    raise AttributeError(f"module 'mllmu_med' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted(__all__)
