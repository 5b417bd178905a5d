"""Keys: a hash of everything a stage depends on, its parents' keys included."""

from __future__ import annotations

from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mllmu_med import __version__
from mllmu_med.errors import DataError
from mllmu_med.folders import digest, file_digest, read_manifest
from mllmu_med.pipeline.cache import checkpoint_fingerprint
from mllmu_med.pipeline.requests import count_of
from mllmu_med.recipe import MethodSettings, Recipe, StageSettings, attack_arguments, benchmark_plan, make_source

if TYPE_CHECKING:
    from mllmu_med.methods.plans.shards import Shards
    from mllmu_med.recipe.metaeval_settings import Pool

FORMAT = 8
"""Raised whenever equal recipes would give other bytes than before."""
_ASKS = 2
"""The same for evaluations alone: raised whenever a model is asked more, or otherwise, than before."""


def _file_key(path: Path) -> str:
    if not path.is_file():
        raise DataError("no such file", file=path, mend="Check benchmark.request_file.")
    return file_digest(path)


class Keys:
    """Hashes of what each stage depends on, along the chain benchmark → base → θ0 → method → evaluation."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe

    @cached_property
    def _model(self) -> dict[str, Any]:
        model = self.recipe.model.model_dump(mode="json")
        if self.recipe.model.path != "embedded":
            del model["embedded"]
            model["content"] = checkpoint_fingerprint(Path(self.recipe.model.path))
        return model

    def _key(self, stage: str, **inputs: Any) -> str:
        return digest({"stage": stage, "format": FORMAT, "package": __version__, "seed": self.recipe.seed, **inputs})

    @cached_property
    def benchmark(self) -> str:
        """Source and plan."""
        source, plan = make_source(self.recipe), benchmark_plan(self.recipe)
        requests = None if plan.request_file is None else _file_key(Path(plan.request_file))
        return self._key(
            "benchmark", source=source.name, fingerprint=source.fingerprint(), plan=plan.as_dict(), requests=requests
        )

    @cached_property
    def base(self) -> str:
        """Benchmark, model, base stage."""
        settings = self.recipe.learn.base.model_dump(mode="json")
        return self._key("base", parent=self.benchmark, model=self._model, learn=settings)

    def learnt(self, which: str) -> str:
        """θ0 or the oracle: base and its own stage."""
        settings: StageSettings = getattr(self.recipe.learn, which)
        return self._key(which, parent=self.base, learn=settings.model_dump(mode="json"))

    def another_oracle(self) -> str:
        """The base and the oracle's stage; the seed of its training follows from the recipe's."""
        settings = self.recipe.learn.oracle.model_dump(mode="json")
        return self._key("another_oracle", parent=self.base, learn=settings)

    def method(self, settings: MethodSettings, request: int | None = None) -> str:
        """θ0 and the method's numbers; its row's name does not matter.

        ``request``: of several, the number of the one after which the model stands (the last one unless given); it
        depends on the requests before it.
        """
        method, count = settings.model_dump(mode="json", exclude={"row"}), count_of(settings.requests)
        key = self.learnt("original")
        if count == 1:
            return self._key("method", parent=key, method=method)
        for number in range(1, (request or count) + 1):
            key = self._key("method", parent=key, method=method, request=number)
        return key

    def teacher(self, settings: MethodSettings, request: int, rephrasings: bool | None) -> str:
        """Outputs of an approximate oracle: the base, what it is trained on, and what it is asked."""
        shared = {
            "seed", "forget_batch", "retain_batch", "retain_share", "teacher_steps", "teacher_rate", "siblings",
            "warmup", "phrasings", "requests", "branches", "precision", "clip", "betas", "weight_decay", "schedule",
            "final_share", "gradient_accumulation", "gradient_checkpointing", "most_positions",
        }  # fmt: skip
        own = settings.model_dump(mode="json", include=shared)
        rate = self.recipe.learn.original.learning_rate
        trainable = self.recipe.model.model_dump(mode="json", include={"trainable", "lora", "dtype", "quantise"})
        return self._key(
            "teacher", parent=self.base, settings=own, learning_rate=rate, request=request, rephrasings=rephrasings,
            model=trainable,
        )  # fmt: skip

    def retrained(self, settings: MethodSettings, request: int) -> str:
        """The oracle, and for all but the last request those that are gone."""
        if request == count_of(settings.requests):
            return self._key("retrain", parent=self.learnt("oracle"))
        requests = settings.model_dump(mode="json", include={"requests"})
        return self._key("retrain", parent=self.learnt("oracle"), request=request, **requests)

    def common(self, method: Shards) -> str:
        """What a row's adapters are trained on: base, θ0's settings and the steps."""
        if not method.common_steps:
            return self.base
        settings = self.recipe.learn.original.model_dump(mode="json")
        return self._key("common", parent=self.base, learn=settings, steps=method.common_steps)

    def shard(self, method: Shards, number: int) -> str:
        """One adapter: θ_common, θ0's settings and the plan's numbers, but not how it will serve."""
        settings = self.recipe.learn.original.model_dump(mode="json")
        numbers = {name: value for name, value in asdict(method).items() if name not in ("combine", "retrain")}
        return self._key("shard", parent=self.common(method), learn=settings, method=numbers, shard=number)

    def served(self, settings: MethodSettings, method: Shards, request: int) -> str:
        """The sharded model after a request (0: before any): all adapters, how they serve, who is in which request."""
        adapters = [self.shard(method, number) for number in range(method.shards)]
        requests = settings.model_dump(mode="json", include={"requests"}) if request else {}
        return self._key("shards", parent=adapters, method=asdict(method), request=request, **requests)

    def collapse(self) -> str:
        """θ0, the control's numbers, and what it takes from ``unlearn``."""
        control = self.recipe.controls.collapse.model_dump(mode="json")
        shared = {"branches", "clip", "forget_batch", "per_image", "phrasings", "span_weights"}
        unlearn = self.recipe.unlearn.model_dump(mode="json", include=shared)
        return self._key("collapse", parent=self.learnt("original"), control=control, unlearn=unlearn)

    def truncated_retrain(self) -> str:
        """Base and the methods' budget; how the methods' requests follow each other does not matter to it."""
        unlearn = {**self.recipe.unlearn.model_dump(mode="json"), "requests": 1}
        rate = self.recipe.learn.original.learning_rate
        data = {} if self.recipe.learn.oracle.corrected else {"corrected": False}
        return self._key("truncated_retrain", parent=self.base, unlearn=unlearn, learning_rate=rate, **data)

    def shuffled(self) -> str:
        """θ0; the order is drawn by the seed."""
        return self._key("shuffled", parent=self.learnt("original"))

    def evaluation(self, model: str, *, behind: str | None = None) -> str:
        """The model and how it is asked, behind an instruction or not; batch size and bootstrap change no answer."""
        settings = self.recipe.evaluate.model_dump(mode="json", exclude={"batch", "bootstrap"})
        return self._key(
            "evaluation", parent=model, evaluate=settings, asks=_ASKS,
            **({} if behind is None else {"behind": behind}),
        )  # fmt: skip

    def attacks(self, model: str) -> dict[str, str]:
        """Attack → key of its attempts: the model, the attack's own numbers, and what the attacker has.

        Which other attacks the recipe names does not matter to it.
        """
        recipe = self.recipe
        data = recipe.attack.model_dump(mode="json", exclude={"attacks"})
        asked = recipe.evaluate.model_dump(mode="json", include={"max_new_tokens", "part", "ordinary_samples"})
        return {
            name: self._key(
                "attack",
                parent=model,
                attack=name,
                numbers={key: str(value) for key, value in given.items()},
                data=data,
                asked=asked,
            )
            for name, given in attack_arguments(recipe).items()
        }

    def attack_stage(self, model: str) -> str:
        """All attacks on a model; their order does not matter."""
        return self._key("attacks", parents=self.attacks(model))

    def states(self, model: str) -> str:
        """The model and whose states are taken."""
        asked = self.recipe.evaluate.model_dump(mode="json", include={"part", "ordinary_samples"})
        return self._key("states", parent=model, asked=asked)

    def inside(self, model: str) -> str:
        """Its states, θ0 and the oracle."""
        return self._key("inside", parents=[self.states(model), self.learnt("original"), self.learnt("oracle")])

    def pool(self, pool: Pool) -> str:
        """A model of a pool: the base and the stage it repeats."""
        settings = self.recipe.learn.original if pool.held else self.recipe.learn.oracle
        return self._key("pool", parent=self.base, learn=settings.model_dump(mode="json"), pool=list(pool))

    def pool_evaluation(self, model: str) -> str:
        """The model, how it is asked, and what it is changed by."""
        data = self.recipe.attack.model_dump(mode="json", exclude={"attacks"})
        return self._key("pool evaluation", parent=self.evaluation(model), data=data)


class StoredKeys(Keys):
    """Keys of what a finished run holds: its data and its checkpoint need not be there any more."""

    def __init__(self, recipe: Recipe, output: Path) -> None:
        super().__init__(recipe)
        self._output = output

    @cached_property
    def benchmark(self) -> str:
        """As the benchmark's own manifest has it."""
        return str(read_manifest(self._output / "benchmark").get("key"))

    @cached_property
    def base(self) -> str:
        """As the base model's own manifest has it."""
        return str(read_manifest(self._output / "models" / "base").get("key"))
