"""Methods: each a small file with its formula, its source and its needs. Third parties add theirs by entry point."""

from __future__ import annotations

from typing import Any

from mllmu_med.registry import Registry

METHODS: Registry[Any] = Registry(
    "method",
    {
        "ga": "mllmu_med.methods.ascent:GradientAscent",
        "grad_diff": "mllmu_med.methods.ascent:GradientDifference",
        "kl_min": "mllmu_med.methods.ascent:KLMinimisation",
        "idk": "mllmu_med.methods.refusal:Refusal",
        "llmu": "mllmu_med.methods.llmu:LLMU",
        "npo": "mllmu_med.methods.preference:NPO",
    },
)
