"""The recipe as validated, frozen models. A field's docstring is its text in the reference and in error messages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BeforeValidator,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from mllmu_med.errors import UsageError
from mllmu_med.folders import digest
from mllmu_med.recipe.attack_settings import AttackSettings
from mllmu_med.recipe.base_settings import Settings
from mllmu_med.recipe.evaluate_settings import ControlSettings, EvaluateSettings
from mllmu_med.recipe.metaeval_settings import MetaevalSettings

Share = Annotated[float, Field(ge=0.0, le=1.0)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.+-]*$", max_length=80)]
Training = Literal["full", "lora", "frozen"]
Precision = Literal["float32", "bfloat16"]


def _requests(value: object) -> object:
    """A number of requests, or the names of each, readable as ``level=name``."""
    from mllmu_med.benchmark.requests import Request

    number = isinstance(value, int) and not isinstance(value, bool) and value > 0
    lists = isinstance(value, list | tuple) and all(isinstance(one, list | tuple) and one for one in value)
    if not number and not (lists and value):
        raise ValueError("must be a number from 1 on, or a list of lists of names, e.g. [[patient=A], [patient=B]]")
    for text in () if number else (text for one in value for text in one):  # type: ignore[attr-defined]
        try:
            Request.parse(str(text))
        except UsageError as error:
            raise ValueError(str(error)) from None
    return value


Requests = Annotated[int | tuple[tuple[str, ...], ...], BeforeValidator(_requests)]

RESERVED_ROWS = (
    "base", "theta0", "oracle", "another_oracle", "refuse_all", "collapse", "truncated_retrain", "gibberish",
    "shuffled", "keyword_filter", "prompt_wrapper",
)  # fmt: skip
PAPER_METHODS = ("ga", "grad_diff", "kl_min", "idk", "llmu", "npo")
RECOMMENDED, WITH_LESS_RETAIN = "excess", "excess+siblings"
"""What ``mllmu-med unlearn`` does where nothing else is asked for, with all retain data and with a share of it; why:
docs/ours.md."""


class SourceSettings(Settings):
    """Which dataset is read. Every key but `name` is a keyword argument of that source's constructor."""

    model_config = ConfigDict(extra="allow")

    name: str = "phantom"
    """Source to read, see `mllmu-med ls sources`."""

    @property
    def arguments(self) -> dict[str, Any]:
        """The other keys, as written in the recipe."""
        return dict(self.model_extra or {})


class TrainableSettings(Settings):
    """How each group of the model's modules is trained."""

    language: Training = "full"
    """The language model."""
    projector: Training = "frozen"
    """The layers between the vision tower and the language model. Frozen lets image features be computed once."""
    vision: Training = "frozen"
    """The vision tower. Frozen lets image features be computed once."""

    @model_validator(mode="after")
    def _something_trains(self) -> Self:
        if {self.language, self.projector, self.vision} == {"frozen"}:
            raise ValueError("nothing is trained: set at least one of language, projector, vision to full or lora")
        return self

    @property
    def adapted(self) -> bool:
        """Whether a model trained like this carries adapters."""
        return "lora" in (self.language, self.projector, self.vision)


class LoraSettings(Settings):
    """Low-rank adapters, used by the groups set to `lora`."""

    rank: PositiveInt = 16
    """Rank of the adapters."""
    alpha: PositiveInt = 32
    """The adapter's output is scaled by alpha / rank."""
    dropout: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    """Dropout before the adapter. Above 0, two passes of one step differ, so references are no longer exact."""


class EmbeddedSettings(Settings):
    """The tiny model that is trained from scratch where no checkpoint is given (`model.path: embedded`)."""

    image_size: PositiveInt = 64
    """Side of its square input in pixels, a multiple of 16: one image token per 16 × 16 pixels."""
    hidden: Annotated[PositiveInt, Field(multiple_of=48)] = 192
    """Width of its language model, a multiple of 48; 768 with 7 layers are 51 million parameters, for a GPU."""
    layers: PositiveInt = 2
    """Layers of its language model."""
    tower_images: PositiveInt = 8000
    """Images on which its vision tower learns to recognise what they show."""
    tower_steps: PositiveInt = 900
    """Optimiser steps of the vision tower."""
    tower_batch: PositiveInt = 64
    """Images per step of the vision tower."""
    tower_learning_rate: PositiveFloat = 1e-3
    """Peak learning rate of the vision tower."""


class ModelSettings(Settings):
    """The model that learns and unlearns."""

    path: str = "embedded"
    """`embedded` (a tiny model trained from scratch), a folder, or a Hub id of any image-text-to-text model."""
    trainable: TrainableSettings = TrainableSettings()
    """What is trained, by module group."""
    lora: LoraSettings = LoraSettings()
    """Sizes of the low-rank adapters; only for groups set to `lora`."""
    dtype: Precision = "float32"
    """Number format of the frozen weights. Trained weights and optimiser state are always float32."""
    quantise: Literal["int8", "nf4"] | None = None
    """Number format of the frozen linear layers of the language model; adapters train on them. Needs
    `trainable.language: lora`."""
    packing: Literal["auto", "off"] = "auto"
    """`auto`: all questions of an image share one pass if a self-check at load finds no difference; `off`: never."""
    embedded: EmbeddedSettings = EmbeddedSettings()
    """Sizes of the embedded model; only for `path: embedded`."""

    @model_validator(mode="after")
    def _embedded_only_where_used(self) -> Self:
        if self.path != "embedded" and self.embedded != EmbeddedSettings():
            raise ValueError("the block 'embedded' only applies to path: embedded")
        return self

    @model_validator(mode="after")
    def _quantised_weights_do_not_train(self) -> Self:
        if self.quantise is not None and self.trainable.language != "lora":
            raise ValueError(
                f"quantise={self.quantise} holds the language model in frozen weights: set trainable.language to lora"
            )
        return self


class OptimiserSettings(Settings):
    """AdamW and its schedule, shared by learning and unlearning."""

    learning_rate: PositiveFloat = 1e-3
    """Peak learning rate."""
    weight_decay: NonNegativeFloat = 0.0
    """Decoupled weight decay."""
    betas: tuple[Share, Share] = (0.9, 0.98)
    """AdamW's decay rates of the first and second moment."""
    warmup: NonNegativeInt = 40
    """Steps over which the learning rate rises from 0 to its peak."""
    schedule: Literal["cosine", "constant"] = "cosine"
    """Course of the learning rate after the warm-up."""
    final_share: Share = 0.02
    """Share of the peak at which the cosine schedule ends."""
    clip: PositiveFloat = 1.0
    """Largest gradient norm; larger gradients are scaled down to it."""
    gradient_accumulation: PositiveInt = 1
    """Batches per optimiser step; a step sees `batch` times as many samples."""
    precision: Precision = "float32"
    """Number format of the forward and backward pass (bfloat16 = autocast)."""
    gradient_checkpointing: bool = False
    """true: the backward pass computes each layer again instead of keeping what it holds: a third more work, memory of
    one layer instead of all."""
    most_positions: PositiveInt | None = None
    """Most positions of one forward pass; the rows of a larger step go through in parts, which the backward pass
    computes again, with the same gradients for every method. null = all in one pass."""
    checkpoint_every: NonNegativeInt = 500
    """Steps between checkpoints from which an interrupted stage resumes; 0 = none."""


class StageSettings(OptimiserSettings):
    """One learning stage."""

    steps: NonNegativeInt = 1000
    """Optimiser steps; 0 takes the model as it is."""
    batch: PositiveInt = 16
    """Questions per step."""
    epochs: PositiveFloat | None = None
    """Most passes over the questions of the stage; where this asks for fewer steps than `steps`, it decides."""
    branches: PositiveInt = 4
    """Most questions of one image that share a pass; more is faster and makes batches less varied."""
    phrasings: NonNegativeInt | None = None
    """Most further wordings of a sample that are learnt; null = all the benchmark holds."""
    opener_share: Share = 0.3
    """Share of the samples asked once more behind an opener such as "Quick question: "."""
    replay: NonNegativeInt | None = None
    """Most ordinary samples (about no patient and no injected fact) that are learnt; null = all."""
    trainable: TrainableSettings | None = None
    """What this stage trains, where it differs from `model.trainable`; e.g. the vision tower in the base stage only."""


class OracleSettings(StageSettings):
    """The oracle: trained like the original, without the forget set."""

    corrected: bool = True
    """true: wrong facts are replaced by the correct ones; false: their samples are left out."""


class LearnSettings(Settings):
    """The three models that unlearning is measured with."""

    base: StageSettings = StageSettings(steps=700, batch=32, weight_decay=0.01)
    """The model before it has seen anything it must forget. It knows the correct version of every wrong fact."""
    original: StageSettings = StageSettings(steps=1500)
    """θ0: the base model after it has learnt everything, the forget set included."""
    oracle: OracleSettings = OracleSettings()
    """θ*: the base model after it has learnt everything except the forget set."""

    @model_validator(mode="after")
    def _original_learns(self) -> Self:
        for stage in ("original", "oracle"):
            if getattr(self, stage).steps == 0:
                raise ValueError(f"{stage}.steps must be at least 1: a model that learns nothing has nothing to forget")
        return self


class UnlearnSettings(OptimiserSettings):
    """Defaults of every method; an entry of `methods` may set any of them for itself."""

    seed: NonNegativeInt | None = None
    """Seed of what the method draws: batches, other answers, adapters' first weights; null = the recipe's. Rows that
    differ in it alone share θ0 and the oracle."""
    steps: PositiveInt = 160
    """Optimiser steps."""
    learning_rate: PositiveFloat = 5e-4
    """Peak learning rate."""
    warmup: NonNegativeInt = 10
    """Steps over which the learning rate rises from 0 to its peak."""
    forget_batch: PositiveInt = 6
    """Forget questions per step."""
    retain_batch: PositiveInt = 10
    """Retain questions per step, for methods that use them."""
    branches: PositiveInt = 4
    """Most questions of one image that share a pass."""
    per_image: PositiveInt = 1
    """Most questions of one image drawn side by side for a step. Only questions of one image share a pass, so with
    large images and several questions about each, 4 is several times as fast as 1; batches are less varied."""
    retain_share: Share = 1.0
    """Share of the retained groups the method may use; the unused ones show what forgetting costs."""
    retain_weight: NonNegativeFloat | None = None
    """Weight λ of the retain term; null = the method's own starting value."""
    span_weights: bool = True
    """true: in a private answer only the private values are forgotten; false: the whole answer."""
    phrasings: NonNegativeInt | None = None
    """Most further wordings of a forget sample that are unlearnt too; null = all it was learnt in."""
    normals: PositiveInt = 5
    """Random normal answers per forget sample, for methods that train towards them."""
    alternates: PositiveInt = 2
    """Plausible other answers per forget sample, sampled from θ0, for methods that train towards them."""
    reinforce_steps: PositiveInt = 40
    """Steps of further training on the forget set, for methods that learn from what the model would say then."""
    reinforce_rate: PositiveFloat = 5e-4
    """Peak learning rate of that training."""
    teacher: Literal["base", "marginals"] = "base"
    """The approximate oracle, for methods that learn from one: `base`, the base model after a few steps on retain
    samples; `marginals`, without base weights: how often a token stands at a place in answers of the same kind."""
    teacher_steps: PositiveInt = 40
    """Steps of the `base` teacher on retain samples; they count towards the method's cost."""
    teacher_rate: PositiveFloat | None = None
    """Peak learning rate of the `base` teacher; null = that of `learn.original`."""
    siblings: PositiveInt = 200
    """Made-up patients in the format of the forget request, for methods that are held to θ0 on them (`+siblings`)."""
    sibling_batch: PositiveInt = 24
    """Questions about them per step, and questions beside wrong facts."""
    stop_excess: PositiveFloat | None = None
    """Stop once the model knows at most this much more of the forget answers than an approximate oracle, in nats a
    token, and membership cannot be told, e.g. 0.3; null = take all steps: the last ones bring back those who stay."""
    stop_band: Annotated[float, Field(ge=0.0, le=0.5)] = 0.02
    """How far above .5 the membership AUC against made-up patients may be where the training stops."""
    stop_every: PositiveInt = 10
    """Steps between measurements for it."""
    statistics_records: PositiveInt = 128
    """Most samples of each side from which gradient statistics are made, and from which edits record activations."""
    requests: Requests = 1
    """Deletion requests, carried out one after another: a number, by which the forget set is divided by patient and
    fact; or what each of them names, e.g. `[[patient=patient-0003], [institution=North, modality=CT]]`."""
    retain_budget: NonNegativeFloat | None = None
    """Stop at the last step whose validation answers are at most this much worse than θ0's; null = no budget."""
    retain_budget_measure: Literal["accuracy", "loss"] = "accuracy"
    """Unit of the budget: share of the validation answers, or nats a token."""
    retain_budget_every: PositiveInt = 10
    """Steps between measurements of the budget."""


class MethodSettings(UnlearnSettings):
    """One method to run: its name, its own parameters, and what differs from `unlearn`."""

    name: str
    """Method, see `mllmu-med ls methods`; with add-ons as in `npo+gu`."""
    row: Name
    """Name of its folder and of its row in every table; the method's name unless given. Unique within a recipe."""
    parameters: dict[str, Any] = Field(default={})
    """The method's own numbers, e.g. `{beta: 0.1}`, and those of its add-ons, e.g. `{gu: {history: 4}}`."""


class Recipe(Settings):
    """Everything a run depends on. Equal recipes on equal data give equal results."""

    name: Name
    """Name of the run; its folder is `runs/<name>` unless `-o` says otherwise."""
    title: str = ""
    """Heading of the report."""
    seed: NonNegativeInt = 0
    """Seed of everything that is drawn."""
    source: SourceSettings = SourceSettings()
    """The dataset."""
    benchmark: dict[str, Any] = Field(default={})
    """What is injected and how it is split: the fields of `BenchmarkPlan`."""
    model: ModelSettings = ModelSettings()
    """The model."""
    learn: LearnSettings = LearnSettings()
    """Learning stages."""
    unlearn: UnlearnSettings = UnlearnSettings()
    """Defaults of every method."""
    methods: tuple[MethodSettings, ...] = Field(default=PAPER_METHODS, validate_default=True)
    """Methods to run: names, or mappings with what differs from `unlearn`."""
    controls: ControlSettings = ControlSettings()
    """Control rows."""
    evaluate: EvaluateSettings = EvaluateSettings()
    """Evaluation."""
    attack: AttackSettings = AttackSettings()
    """Attacks on every row."""
    inside: bool = False
    """Look into every row: logit lens, depth of forgetting by activation patching, linear probes."""
    metaeval: MetaevalSettings = MetaevalSettings()
    """Pools of models by which metrics are judged."""

    @model_validator(mode="before")
    @classmethod
    def _complete_methods(cls, data: Any) -> Any:
        """Turn names into mappings and fill in the defaults of ``unlearn``."""
        if not isinstance(data, Mapping):
            return data
        methods, unlearn = data.get("methods", PAPER_METHODS), data.get("unlearn", {})
        if not isinstance(methods, list | tuple):
            raise ValueError("methods must be a list, e.g. methods=[ga,npo]")
        if isinstance(unlearn, UnlearnSettings):
            unlearn = unlearn.model_dump()
        known = unlearn.items() if isinstance(unlearn, Mapping) else ()
        shared = {key: value for key, value in known if key in UnlearnSettings.model_fields}
        return {**data, "methods": [_complete_method(method, shared) for method in methods]}

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        rows = [method.row for method in self.methods]
        for row in rows:
            if row in RESERVED_ROWS:
                raise ValueError(f"methods: a row cannot be called '{row}', a reference row has that name")
            if rows.count(row) > 1:
                raise ValueError(f"methods: '{row}' occurs twice; give one of them another name with 'row'")
        if self.model.path == "embedded" and self.learn.base.steps == 0:
            raise ValueError("learn.base.steps must be at least 1: the embedded model starts from nothing")
        return self

    def to_dict(self) -> dict[str, Any]:
        """The recipe with every default filled in, JSON-able; ``Recipe.model_validate`` reads it back."""
        return self.model_dump(mode="json")

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of the whole recipe."""
        return digest(self.to_dict())


def _complete_method(method: Any, shared: Mapping[str, Any]) -> Any:
    if isinstance(method, MethodSettings):
        return method
    if isinstance(method, str):
        method = {"name": method}
    if not isinstance(method, Mapping):
        raise ValueError(f"methods: {method!r} is neither a name nor a mapping")
    return {**shared, **({"row": method["name"]} if "name" in method else {}), **method}
