"""What a method is: a declaration of needs and pure functions of answers, gradients or weights.

A method knows no files, no checkpoints and no LoRA. There are four kinds. An *objective* is a loss that the loop
minimises; *add-ons* (:mod:`mllmu_med.methods.addons`) compose with it. An *edit* (:mod:`mllmu_med.methods.edits`)
changes weights directly, at a desk. A *guard* (:mod:`mllmu_med.methods.guards`) leaves the weights as they are and acts
when the model answers: it suppresses and never deletes. A *plan* (:mod:`mllmu_med.methods.plans`) trains models from
other data than θ0 (retraining, shards).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Flag, StrEnum, auto
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, TypeVar

import torch
from torch import Tensor

from mllmu_med.errors import UsageError
from mllmu_med.methods.chunked import DeferredLogits, each_token, target_logprob

if TYPE_CHECKING:
    from mllmu_med.methods.addons.interface import Addon

State = dict[str, Tensor]
"""Tensors that a method carries from step to step; saved with every checkpoint."""


class Family(StrEnum):
    """The families of the survey (arXiv 2510.25117), M1–M13."""

    EXACT = "exact"  # M1: training so that a deletion is a retraining, or is one
    TEXT = "text"  # M2: losses on the answer's own text: ascent, refusals, corrections
    PREFERENCE = "preference"  # M3: against or for answers, relative to θ0
    DISTRIBUTION = "distribution"  # M4: towards a distribution over the vocabulary
    REWEIGHTING = "reweighting"  # M5: token or record weights on ascent
    ACTIVATION = "activation"  # M6: hidden states
    LOCALISATION = "localisation"  # M7: where in the weights to unlearn
    OPTIMISER = "optimiser"  # M8: how gradients become steps
    ARITHMETIC = "arithmetic"  # M9: sums and differences of weights
    STRUCTURE = "structure"  # M10: adapters and other parts added or removed
    EDIT = "edit"  # M11: closed-form changes of weights, without training
    INFERENCE = "inference"  # M12: at inference only: suppression
    DATA = "data"  # M13: which data stands on the retain and on the forget side


class Needs(Flag):
    """What the loop must provide. Only this is computed; the rest of a batch is None."""

    NONE = 0
    RETAIN = auto()  # a batch of retain records
    REFERENCE_LOGPROB = auto()  # log p_θ0 of the forget answers
    FORGET_REFERENCE = auto()  # θ0's logits on the forget answers
    RETAIN_REFERENCE = auto()  # θ0's logits on the retain answers
    REFUSALS = auto()  # the forget questions with a refusal as answer
    NORMALS = auto()  # the forget questions with random normal answers (answers to other questions)
    ALTERNATES = auto()  # the forget questions with plausible answers, different from the true one, sampled from θ0
    CORRECTIONS = auto()  # the forget questions whose true answer is known, with that answer
    OTHERS_LOGPROB = auto()  # log p_θ0 of the refusals, normals, alternates and corrections
    ANCHORS = auto()  # forget image × benign question and benign image × forget question, with θ0's own answers
    SIBLINGS = auto()  # made-up patients in the format of the forget request, with θ0's logits along made-up answers
    TEACHER = auto()  # what an approximate oracle, which never saw the forget set, says on the forget answers
    NOISED = auto()  # θ0's logits on the forget answers, asked behind a refusing instruction about a noisy image
    REINFORCED = auto()  # logits, on the forget answers, of θ0 trained further on the forget set
    LAYERS = auto()  # hidden states of some decoder layers on forget and retain answers
    REFERENCE_LAYERS = auto()  # the same of θ0
    GRADIENT_STATISTICS = auto()  # mean squared per-record gradients at θ0, on forget and on retain
    HIERARCHY = auto()  # the level, 1…4, of every forget and retain record


class Supports(Flag):
    """How the weights may be held for a method to work on them."""

    FULL = auto()  # full fine-tuning
    LORA = auto()  # adapters on frozen weights
    QUANTISED = auto()  # adapters on frozen quantised weights
    DISTRIBUTED = auto()  # the batch split over several processes
    FSDP2 = auto()  # and the decoder layers shared out over them (full weights or adapters, never quantised ones)

    @classmethod
    def training(cls) -> Supports:
        """Everything, which is the default: what a loss that is a mean over records supports.

        FSDP2 gives gradients to the optimiser only. A method with a gradient rule, or that needs gradient statistics,
        therefore never supports it, whatever its parts say (``Composite.supports``).
        """
        return cls.FULL | cls.LORA | cls.QUANTISED | cls.DISTRIBUTED | cls.FSDP2

    def check(self, label: str, *needed: Supports) -> None:
        """Refuse what is not among these.

        Args:
            label: of the method, for the message.
            needed: how the weights are held, one flag each.

        Raises:
            UsageError: says what the method supports.
        """
        for kind in needed:
            if kind not in self:
                names = ", ".join(str(one.name).lower() for one in self)
                raise UsageError(f"{label} does not support {str(kind.name).lower()}; it supports: {names}")


class Cost(StrEnum):
    """What a step, or the whole method, costs in forward and backward passes."""

    NONE = "no training"
    LIGHT = "1 pass a step, forget only"
    PAIR = "1 pass a step, forget and retain"
    REFERENCE = "forget and retain, and θ0 once"
    SEVERAL = "several passes a step"
    EXTRA = "further training beforehand"
    RETRAIN = "trains on the retain data"


@dataclass(frozen=True)
class ModelFacts:
    """Sizes of the language model: decoder layers, hidden width, vocabulary."""

    layers: int
    width: int
    vocabulary: int


@dataclass(frozen=True)
class Focus:
    """The only weights that train: linear layers named ``modules`` (e.g. ``down_proj``) in decoder ``layers``."""

    layers: tuple[int, ...]
    modules: tuple[str, ...]


class Teacher(NamedTuple):
    """Another model's distributions at K answer tokens: its likeliest k of V tokens, and what all others share.

    Attributes:
        target: [K] log-probability of the answer token.
        tokens: [K, k] tokens, different ones, the answer token among them.
        logprobs: [K, k] theirs.
        rest: [K] logarithm of the probability that all other tokens share; None where k = V and there are none.
        stranger: [K] mean log-probability that θ0 gives such tokens of a stranger's answer, +∞ where there is no such
            mean; None where θ0 was not asked about any.
    """

    target: Tensor
    tokens: Tensor
    logprobs: Tensor
    rest: Tensor | None
    stranger: Tensor | None = None


@dataclass(frozen=True)
class Answers:
    """Model outputs on the answers of one group of records; N records, K answer tokens in all, V vocabulary.

    Attributes:
        logits: [K, V] float32, at answer tokens only: prompts, images and padding never occur. For large vocabularies
            what stands for them (:class:`~mllmu_med.methods.chunked.DeferredLogits`), and so may ``reference_logits``:
            ``token_logprob`` and what is made of it, and the KL terms of :mod:`mllmu_med.methods.terms`, then never
            hold the whole; an objective that takes the logits themselves gets it.
        target: [K] the answer tokens.
        owner: [K] the record, 0…N-1, of each token.
        weight: [K] ≥ 0; 1 by default; for span weights 1 on the private span and 0 elsewhere in the answer.
        records: N.
        of: [N] for refusals, normals, alternates and corrections: the forget record, 0…, each belongs to.
        level: [N] 1…4, the hierarchy's level (:class:`Needs`.HIERARCHY); 4 is the target of the request.
        layers: decoder layer → hidden states [K, H] behind it, at the positions that predict the answer tokens.
        lens: hidden states [K, H] → logits [K, V] through the model's final norm and head (logit lens).
        reference_logprob: [K] log p_θ0 of each answer token.
        reference_logits: [K, V] θ0's logits.
        reference_layers: as ``layers``, of θ0.
        noised_logits: [K, V] θ0's logits behind a refusing instruction about a noisy image.
        reinforced_logits: [K, V] of θ0 trained further on the forget set.
        teacher: what an approximate oracle says at the K tokens (:class:`Needs`.TEACHER).
    """

    logits: Tensor
    target: Tensor
    owner: Tensor
    weight: Tensor
    records: int
    of: Tensor | None = None
    level: Tensor | None = None
    layers: Mapping[int, Tensor] | None = None
    lens: Callable[[Tensor], Tensor] | None = None
    reference_logprob: Tensor | None = None
    reference_logits: Tensor | None = None
    reference_layers: Mapping[int, Tensor] | None = None
    noised_logits: Tensor | None = None
    reinforced_logits: Tensor | None = None
    teacher: Teacher | None = None

    @cached_property
    def logprobs(self) -> Tensor:
        """[K, V] log-softmax of the logits."""
        return self.logits.log_softmax(-1)

    @cached_property
    def token_logprob(self) -> Tensor:
        """[K] log p_θ(y_t | x, y_<t), ≤ 0."""
        if isinstance(self.logits, DeferredLogits):
            return each_token(target_logprob, [self.logits], self.target)
        return self.logprobs.gather(-1, self.target[:, None])[:, 0]

    def per_record(self, values: Tensor) -> Tensor:
        """[N] weighted sums of token values [K] over each record's answer."""
        return torch.zeros(self.records, dtype=values.dtype, device=values.device).index_add(
            0, self.owner, values * self.weight.to(values.dtype)
        )

    @cached_property
    def length(self) -> Tensor:
        """[N] total token weight of each record, > 0 (the answer's length where all weights are 1)."""
        ones = torch.ones_like(self.weight)
        return self.per_record(ones).clamp(min=torch.finfo(ones.dtype).tiny)

    def record_means(self, values: Tensor) -> Tensor:
        """[N] weighted means of token values [K] over each record's answer."""
        return self.per_record(values) / self.length.to(values.dtype)

    @property
    def logprob(self) -> Tensor:
        """[N] log p_θ(y | x), summed over the answer."""
        return self.per_record(self.token_logprob)

    @property
    def nll(self) -> Tensor:
        """[N] −log p_θ(y | x) / |y|: the mean over each answer's tokens, so that long answers do not dominate."""
        return -self.logprob / self.length

    @property
    def reference(self) -> Tensor:
        """[N] log p_θ0(y | x), summed over the answer."""
        assert self.reference_logprob is not None, "declare Needs.REFERENCE_LOGPROB or OTHERS_LOGPROB"
        return self.per_record(self.reference_logprob)


class Batch(NamedTuple):
    """One step's answers; what a method does not declare is None. ``state`` is the method's own, ``step`` from 0 on."""

    forget: Answers
    retain: Answers | None = None
    refusals: Answers | None = None
    normals: Answers | None = None
    alternates: Answers | None = None
    corrections: Answers | None = None
    anchors: Answers | None = None
    siblings: Answers | None = None
    step: int = 0
    state: Mapping[str, Tensor] = {}


class Loss(NamedTuple):
    """What to minimise, as forget side and retain side, so that add-ons can treat their gradients apart.

    Attributes:
        forget: everything that acts on the forget records, weights included.
        retain: the retain term, without its weight.
        weight: λ ≥ 0 of the retain term.
        added: terms of retain-side add-ons, weights included.
        parts: further scalars for the training curves, stopping rules and ``advance``.
        per_record: [N] the forget side record by record (its mean is ``forget``), for per-record clipping.
    """

    forget: Tensor
    retain: Tensor | None = None
    weight: float | Tensor = 1.0
    added: Tensor | None = None
    parts: Mapping[str, Tensor] = {}
    per_record: Tensor | None = None

    @property
    def kept(self) -> Tensor | None:
        """The retain side: λ · retain + added; None if there is neither."""
        own = None if self.retain is None else self.weight * self.retain
        if own is None or self.added is None:
            return own if self.added is None else self.added
        return own + self.added

    @property
    def total(self) -> Tensor:
        """forget + kept."""
        return self.forget if self.kept is None else self.forget + self.kept


class Component:
    """What every method and add-on says of itself; the numbers are the fields of its frozen dataclass.

    Attributes:
        label: as tables show it.
        family: the survey's family.
        source: arXiv number, or "ours".
        summary: one line.
        needs: what the loop must provide.
        supports: how the weights may be held.
        cost: class of cost.
        grid: values that ``mllmu-med tune`` tries, by name of a field or of a setting of ``unlearn``.
    """

    label: ClassVar[str]
    family: ClassVar[Family]
    source: ClassVar[str]
    summary: ClassVar[str]
    needs: ClassVar[Needs] = Needs.NONE
    supports: ClassVar[Supports] = Supports.training()
    cost: ClassVar[Cost] = Cost.PAIR
    grid: ClassVar[Mapping[str, tuple[Any, ...]]] = {"learning_rate": (1e-4, 2e-4, 5e-4, 1e-3)}


class Objective(Component):
    """A loss that the loop minimises. Only ``loss`` must be written; the rest has defaults."""

    rephrasings: ClassVar[bool | None] = None
    """True: all wordings of a forget record; False: its own only; None: as the recipe's ``phrasings`` says."""

    def loss(self, batch: Batch) -> Loss:
        """The objective on one batch; pure."""
        raise NotImplementedError

    def addons(self) -> tuple[Addon, ...]:
        """Add-ons that are a part of the method itself."""
        return ()

    def start(self, model: ModelFacts, generator: torch.Generator) -> State:
        """The state before the first step; what is drawn comes from ``generator`` (seeded by the run)."""
        return {}

    def advance(self, state: State, loss: Mapping[str, Tensor]) -> State:
        """The state after a step. ``loss``: detached scalars ``loss``, ``forget``, ``retain`` and the parts.

        Pure, and on tensors only: nothing is read back from the device within a step.
        """
        return state

    def layers(self, model: ModelFacts) -> tuple[int, ...]:
        """The decoder layers whose hidden states are needed (:class:`Needs`.LAYERS)."""
        return ()

    def focus(self, model: ModelFacts) -> Focus | None:
        """The only weights that train, of those that the recipe trains; None: all of them."""
        return None

    def diverged(self, entry: Mapping[str, float]) -> bool:
        """Whether to stop at this entry of the curve (means over the last steps of loss, forget, retain, parts)."""
        return False


T = TypeVar("T")


def required(answers: Answers | None, what: str) -> Answers:
    """The answers a method declared; the loop breaks its promise if they are missing."""
    if answers is None:
        raise RuntimeError(f"the loop provided no {what}, which the method declares as a need")
    return answers


def provided(values: T | None, what: str) -> T:
    """What a method declared; the loop breaks its promise if it is missing."""
    if values is None:
        raise RuntimeError(f"the loop provided no {what}, which the method declares as a need")
    return values
