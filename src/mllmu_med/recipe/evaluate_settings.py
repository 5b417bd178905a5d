"""The recipe's blocks on evaluation and on the control rows beside the methods."""

from __future__ import annotations

from typing import Literal, get_args

from pydantic import NonNegativeInt, PositiveFloat, PositiveInt

from mllmu_med.recipe.base_settings import Settings

ProbeFamily = Literal[
    "paraphrase", "prefix", "blank", "mismatched", "generic", "variant", "other", "unburned", "language", "neighbour"
]


class EvaluateSettings(Settings):
    """How the models are asked and scored."""

    max_new_tokens: PositiveInt = 48
    """Longest answer, in tokens."""
    batch: PositiveInt = 128
    """Questions answered at once. Does not change the answers."""
    bootstrap: NonNegativeInt = 1000
    """Bootstrap resamples (over patients and images) behind each 95 % interval; 0 = no intervals."""
    probes: Literal["all", "original"] | list[ProbeFamily] = "all"
    """Held-out ways to ask for what is to be forgotten: `all`, a list of families, or `original`: none."""

    @property
    def probe_families(self) -> tuple[str, ...]:
        """The families that are asked."""
        if self.probes == "original":
            return ()
        return get_args(ProbeFamily) if self.probes == "all" else tuple(self.probes)

    part: Literal["test", "validation"] = "test"
    """What is asked beside forget and retain set; `validation` is for tuning, the test part stays untouched."""
    ordinary_samples: PositiveInt = 300
    """Most ordinary samples asked of each subset, in whole groups; patients and injected facts are always all asked."""
    strangers: NonNegativeInt = 32
    """Made-up patients that every model is asked about: what it does to them, it does to patients that it was not
    shown. 0 = none."""


class CollapseSettings(Settings):
    """The control that every score must reject: a model destroyed by gradient ascent."""

    steps: PositiveInt = 40
    """Optimiser steps of ascent."""
    learning_rate: PositiveFloat = 3e-3
    """Constant learning rate of ascent."""


class ControlSettings(Settings):
    """Rows that stand in every table beside the methods."""

    collapse: CollapseSettings = CollapseSettings()
    """A destroyed model."""
    truncated_retrain: bool = True
    """Retraining from the base model, stopped at the cost of `unlearn`'s own steps and batches: what every method must
    beat."""
    another_oracle: bool = False
    """The oracle once more, with another seed of training: how far two oracles are apart is the noise floor."""
    more: bool = False
    """Also gibberish, θ0 with shuffled weights, a keyword filter, and θ0 told by a prompt to keep silent."""
