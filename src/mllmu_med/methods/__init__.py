"""Methods: each a small file with its formula, its source and its needs. Third parties add theirs by entry point."""

from __future__ import annotations

from typing import Any

from mllmu_med.registry import Registry

_OBJECTIVES = {
    "ga": "ascent:GradientAscent",
    "grad_diff": "ascent:GradientDifference",
    "kl_min": "ascent:KLMinimisation",
    "idk": "refusal:Refusal",
    "llmu": "llmu:LLMU",
    "npo": "preference:NPO",
    "dpo": "dpo:DPO",
    "alt_po": "dpo:AltPO",
    "sim_npo": "sim_npo:SimNPO",
    "undial": "undial:UNDIAL",
    "wga": "reweighting:WGA",
    "sat_imp": "reweighting:SatImp",
    "ce_u": "ce_u:CEU",
    "pdu": "pdu:PDU",
    "jensun": "jensun:JensUn",
    "max_entropy": "max_entropy:MaxEntropy",
    "flat": "flat:FLAT",
    "scrub": "scrub:SCRUB",
    "ihl": "ihl:InvertedHinge",
    "vgid": "vgid:VGID",
    "unlikelihood": "unlikelihood:Unlikelihood",
    "correct": "correct:Correction",
    "whp": "whp:WhosHarryPotter",
    "rmu": "rmu:RMU",
    "adaptive_rmu": "rmu:AdaptiveRMU",
    "head_projection": "head_projection:HeadProjection",
    "lens_max_entropy": "lens_entropy:LensMaxEntropy",
    "fact_erasure": "unlok:FactErasure",
    "empty_response": "unlok:EmptyResponse",
    "error_injection": "unlok:ErrorInjection",
    "input_rephrasing": "unlok:InputRephrasing",
    "mmunlearner": "mmunlearner:MMUnlearner",
    "duo": "duo:DUO",
    "o3": "o3:O3",
    "excess": "excess:Excess",
}
_EDITS = {
    "task_vector": "task_vector:TaskVector",
    "sku": "sku:SKU",
    "chip": "chip:CHIP",
    "manu": "manu:MANU",
    "lunar": "lunar:LUNAR",
}
_GUARDS = {
    "filter": "filter:AnswerFilter",
    "logit_mask": "logit_mask:LogitMask",
    "eco": "eco:ECO",
    "steer": "steer:Steering",
}
_PLANS = {
    "retrain": "retrain:Retrain",
    "shards": "shards:Shards",
}


def _lazy(package: str, found: dict[str, str]) -> dict[str, str]:
    return {name: f"mllmu_med.methods.{package}.{place}" for name, place in found.items()}


METHODS: Registry[Any] = Registry(
    "method",
    {
        **_lazy("objectives", _OBJECTIVES),
        **_lazy("edits", _EDITS),
        **_lazy("guards", _GUARDS),
        **_lazy("plans", _PLANS),
    },
)

ADDONS: Registry[Any] = Registry(
    "addon",
    _lazy(
        "addons",
        {
            "sam": "sam:SharpnessAware",
            "gu": "gu:GeometricUnlearning",
            "ng_diff": "ng_diff:NormalisedGradients",
            "prompt_decouple": "prompt_decouple:PromptDecoupling",
            "sine_project": "sine_project:SineProjection",
            "siblings": "siblings:Siblings",
        },
    ),
)
"""What composes with any objective, as in ``npo+gu``."""
