"""What the stages of one run share: the benchmark, loaded once, and models that hand their images on."""

from __future__ import annotations

from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any

from mllmu_med.benchmark.sample import Sample, Subset
from mllmu_med.benchmark.store import Benchmark
from mllmu_med.errors import UsageError
from mllmu_med.evaluation.probe_images import attach_benchmark
from mllmu_med.models.features import SeenImages
from mllmu_med.models.groups import GroupCount, Lora, log_groups, set_trainable, trainable_share
from mllmu_med.models.quantised import quantise_language
from mllmu_med.models.store import load_trained, trained_format
from mllmu_med.models.vlm import VisionLanguageModel
from mllmu_med.recipe import ModelSettings, OptimiserSettings, Recipe, TrainableSettings
from mllmu_med.training.distributed import torchrun_processes
from mllmu_med.training.loop import TrainingLog
from mllmu_med.training.settings import LoopSettings


def loop_settings(settings: OptimiserSettings, steps: int, *, log_every: int = 10) -> LoopSettings:
    """A recipe's optimiser block as the loop takes it."""
    return LoopSettings(
        steps=steps,
        learning_rate=settings.learning_rate,
        weight_decay=settings.weight_decay,
        betas=settings.betas,
        warmup=settings.warmup,
        final_share=settings.final_share if settings.schedule == "cosine" else 1.0,
        clip=settings.clip,
        accumulation=settings.gradient_accumulation,
        precision="bf16" if settings.precision == "bfloat16" else "no",
        gradient_checkpointing=settings.gradient_checkpointing,
        checkpoint_every=settings.checkpoint_every,
        log_every=log_every,
    )


class Workshop:
    """Loads models for the stages of one run; one model at a time is in use.

    The images a model has preprocessed, and their features where the vision side is unchanged, go on to the next model;
    features and references are kept in the user's cache on disk as well (:mod:`mllmu_med.caches`).
    """

    def __init__(self, recipe: Recipe, output: Path) -> None:
        if torchrun_processes() > 1:
            raise UsageError(
                "a recipe is carried out by one process (stages run side by side with --jobs); several processes on "
                "one batch are for the Python API"
            )
        self.recipe, self.output = recipe, output
        self._last: VisionLanguageModel | None = None

    @cached_property
    def device(self) -> str:
        """CUDA where there is one."""
        import torch

        return "cuda" if torch.cuda.is_available() else "cpu"

    @cached_property
    def benchmark(self) -> Benchmark:
        """The run's benchmark."""
        return Benchmark.open(self.output / "benchmark")

    @cached_property
    def samples(self) -> list[Sample]:
        """All its samples."""
        return self.benchmark.samples()

    @property
    def start(self) -> str:
        """Name of the model that unlearning starts from."""
        return "theta0"

    @property
    def seed(self) -> int:
        """Seed of what unlearning draws."""
        return self.recipe.seed

    @property
    def adapter_seed(self) -> int:
        """Seed of the initial weights of adapters."""
        return self.seed

    def subset(self, *subsets: Subset) -> list[Sample]:
        """Samples of these subsets."""
        return [sample for sample in self.samples if sample.subset in subsets]

    @property
    def options(self) -> dict[str, Any]:
        """How models are loaded."""
        model = self.recipe.model
        return {"dtype": model.dtype, "packing": model.packing, "device": self.device}

    def load(self, folder: str | Path, *, as_trained: bool = False, apart: bool = False) -> VisionLanguageModel:
        """Load a model that finds the benchmark's images; the model loaded before is let go first.

        As a start for further training all adapters are merged (``trainable`` quantises what they are merged into).
        ``as_trained``: as the folder's own training saw it, an adapter on quantised weights apart from them; whoever
        asks the model wants this one. ``apart``: its own adapter beside unquantised weights, too.
        """
        seen = None if self._last is None else self._last.seen_images()
        self._last = None
        quantise = trained_format(folder) if as_trained else None
        return self.with_images(load_trained(folder, quantise=quantise, apart=apart, **self.options), seen)

    def with_images(self, vlm: VisionLanguageModel, seen: SeenImages | None = None) -> VisionLanguageModel:
        """Attach the benchmark's images, as an earlier model has ``seen`` them if there was one."""
        vlm.kept = True
        vlm.cache_features(True)
        if seen is None:
            attach_benchmark(vlm, self.benchmark)
        else:
            vlm.adopt_images(seen)
        self._last = vlm
        return vlm

    def trainable(
        self, vlm: VisionLanguageModel, own: TrainableSettings | None = None, *, seed: int | None = None
    ) -> list[GroupCount]:
        """Quantise, freeze and adapt as the recipe, or the stage's own block, says, and log what trains.

        A stage whose own block trains the language model without adapters has it unquantised. ``seed``: of the
        adapters' initial weights, ``adapter_seed`` unless given.
        """
        model: ModelSettings = self.recipe.model
        modes = own or model.trainable
        if model.quantise is not None and modes.language == "lora":
            quantise_language(vlm, model.quantise)
        seed = self.adapter_seed if seed is None else seed
        counts = set_trainable(vlm, modes.model_dump(), Lora(**model.lora.model_dump()), seed=seed)
        log_groups(counts)
        return counts


def training_facts(
    log: TrainingLog, counts: list[GroupCount], records: int, vlm: VisionLanguageModel
) -> dict[str, Any]:
    """What a training stage's manifest says of it."""
    return {
        "training": {
            "curve": log.curve,
            "steps": log.steps,
            "records": records,
            "loop_seconds": round(log.seconds, 3),
            "flops": log.flops,
            "peak_memory_mb": round(log.peak_memory_mb, 1),
            "stopped": log.stopped,
            "trainable_share": trainable_share(counts),
            "groups": [asdict(count) for count in counts],
            "packed": vlm.packed,
        }
    }
