"""Attacks: small files with threat model, budget and source. Third parties add theirs by entry point."""

from __future__ import annotations

from typing import Any

from mllmu_med.registry import Registry

_BLACK_BOX = {
    "paraphrase": "wording:Paraphrase",
    "prefix": "wording:Prefix",
    "language": "wording:OtherLanguage",
    "jailbreak": "jailbreak:RolePlay",
    "continue_record": "extraction:ContinueRecord",
    "few_shot": "extraction:FewShot",
    "hierarchy": "extraction:HierarchyContext",
    "image_change": "images:ChangedImage",
    "image_question": "images:ChangedImageAndQuestion",
    "text_only": "images:TextOnly",
    "mismatched": "images:MismatchedImage",
    "sampling": "sampling:Sampling",
}
_LIKELIHOOD = {
    "exposure": "exposure:Exposure",
}
_WHITE_BOX = {
    "head_projection": "projection:HeadProjection",
    "probability_delta": "projection:ProbabilityDelta",
    "probability_delta_2": "projection:SecondDelta",
    "finetuned_projection": "projection:FineTunedProjection",
}
_WEIGHTS = {
    "relearn_disjoint": "relearning:RelearnDisjoint",
    "relearn_few": "relearning:RelearnFew",
    "relearn_text": "relearning:RelearnText",
    "quantise": "rounding:Quantisation",
    "prune": "pruning:Pruning",
    "adapter": "adapters:AdapterScaling",
}
_MEMBERSHIP = {
    "mia_loss": "scores:Loss",
    "mia_zlib": "scores:Zlib",
    "mia_min_k": "scores:MinK",
    "mia_min_k_plus": "scores:MinKPlus",
    "mia_grad_norm": "scores:GradNorm",
    "mia_reference": "scores:Reference",
}


def _lazy(package: str, found: dict[str, str]) -> dict[str, str]:
    return {name: f"mllmu_med.attacks.{package}.{place}" for name, place in found.items()}


ATTACKS: Registry[Any] = Registry(
    "attack",
    {
        **_lazy("black_box", _BLACK_BOX),
        **_lazy("likelihood", _LIKELIHOOD),
        **_lazy("white_box", _WHITE_BOX),
        **_lazy("weights", _WEIGHTS),
        **_lazy("membership", _MEMBERSHIP),
    },
)

MEMBERSHIP = tuple(_MEMBERSHIP)
"""Attacks that are read off the stored outputs of every evaluation; they are never carried out on a model."""
