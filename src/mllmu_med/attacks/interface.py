"""What an attack is: something that tries to get out of a model what it should have forgotten.

Every attack says who could carry it out (threat model), how many guesses it has (budget) and what it costs. What it
gets is stored as attempts, one a (sample, variant), from which success is judged later and without the model.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from mllmu_med.benchmark.sample import Sample, Subset
from mllmu_med.evaluation.outputs import Output

if TYPE_CHECKING:  # scores are computed again from what is stored, and need neither engine nor model
    from mllmu_med.engines.interface import Engine
    from mllmu_med.models.vlm import VisionLanguageModel

FORGET = (Subset.FORGET_PRIVACY, Subset.FORGET_INCORRECTNESS)


class Threat(StrEnum):
    """What the attacker has."""

    BLACK_BOX = "black-box"  # questions and answers
    LIKELIHOODS = "likelihoods"  # probabilities of given answers, too
    WHITE_BOX = "white-box"  # hidden states and weights, to read
    WEIGHTS = "weights"  # the weights, to change


@dataclass(frozen=True, slots=True)
class Attempt:
    """What an attack got out of one sample in one of its variants.

    Attributes:
        attack: its registry name.
        variant: which of its steps, strengths or wordings, e.g. ``layer-3``, ``steps-10``, ``crop-hard``.
        sample_id: the sample; forget samples are targets, all others show what the attack does to the rest.
        question: as asked, where something was asked.
        candidates: answers or pieces of answers, best first; at most the attack's budget of them.
        scores: of ``candidates`` where they are ranked by a number (log-probabilities in nats), else empty; where whole
            answers are ranked, of the true answer and then of its alternatives.
        rank: place (from 1) of the whole true answer among those the attacker can rank, where the attack ranks
            whole answers instead of showing them; None otherwise.
        value: the attack's own number where it gives no candidates (e.g. a membership score); None otherwise.
    """

    attack: str
    variant: str
    sample_id: str
    question: str = ""
    candidates: tuple[str, ...] = ()
    scores: tuple[float, ...] = ()
    rank: int | None = None
    value: float | None = None


@dataclass(frozen=True)
class Data:
    """What attackers may have besides the model. Nothing in it is what they are after.

    Attributes:
        targets: the forget samples under attack.
        bystanders: samples that should not change (test, retained patients), asked by attacks that change weights.
        unrelated: ordinary training samples, disjoint from all targets, of other images and patients.
        retained: retained patients' samples, whose values are known to the attacker as examples.
        seed: of every draw.
        max_new_tokens: limit of a generated answer.
    """

    targets: Sequence[Sample]
    bystanders: Sequence[Sample] = ()
    unrelated: Sequence[Sample] = ()
    retained: Sequence[Sample] = ()
    seed: int = 0
    max_new_tokens: int = 48


class Query(NamedTuple):
    """One question of a black-box attack. ``draws`` > 0: so many sampled answers instead of the greedy one."""

    variant: str
    question: str
    image: str | None
    draws: int = 0


class Attack:
    """What every attack says of itself; its numbers are the fields of its frozen dataclass.

    Attributes:
        label: as tables show it.
        threat: what the attacker has.
        source: arXiv number, or "ours".
        summary: one line.
        cost: for one sample, in plain words, e.g. ``5 answers``.
        robust: whether it counts for UES-R: its success says that the knowledge is still there.
        budget: most guesses for one sample and variant.
    """

    label: ClassVar[str]
    threat: ClassVar[Threat]
    source: ClassVar[str]
    summary: ClassVar[str]
    cost: ClassVar[str]
    robust: ClassVar[bool] = True
    budget: int


class Asking(Attack):
    """A black-box attack: questions whose answers are the guesses. Runs through any engine."""

    threat: ClassVar = Threat.BLACK_BOX
    temperature: ClassVar[float] = 1.0

    def queries(self, sample: Sample, data: Data) -> Iterable[Query]:
        """What is asked to attack one sample; a pure function of its arguments. Empty where it does not apply."""
        raise NotImplementedError


class Weighing(Attack):
    """An attack that looks at the likelihoods of given answers."""

    threat: ClassVar = Threat.LIKELIHOODS

    def weigh(self, engine: Engine, data: Data) -> list[Attempt]:
        """Attempts on all targets; ``engine.tells_likelihoods`` is true."""
        raise NotImplementedError


class Reading(Attack):
    """A white-box attack that reads hidden states and leaves the weights as they are."""

    threat: ClassVar = Threat.WHITE_BOX

    def read(self, subject: Subject) -> list[Attempt]:
        """Attempts on all targets."""
        raise NotImplementedError


class Tampering(Attack):
    """An attack that changes weights and then asks the ordinary question.

    Attributes:
        touches: module groups whose tensors it may change; these alone are copied beforehand.
        apart: whether it meets a model that was trained in an adapter with this beside the weights. To all others the
            two are one.
    """

    threat: ClassVar = Threat.WEIGHTS
    touches: ClassVar[tuple[str, ...]] = ("vision", "projector", "language")
    apart: ClassVar[bool] = False

    def spent(self, data: Data) -> frozenset[str]:
        """Identifiers of targets that the attacker is given. They are not asked: repeating them would prove nothing."""
        return frozenset()

    def tampered(self, subject: Subject) -> Iterator[str]:
        """Change ``subject.vlm`` step by step; at every yield the model stands as the variant's name says.

        Whoever iterates asks targets and bystanders at each yield and restores the weights afterwards.
        """
        raise NotImplementedError


class Inferring(Attack):
    """Membership inference: a number for each member and non-member, from stored outputs; no model is needed."""

    threat: ClassVar = Threat.LIKELIHOODS
    robust: ClassVar = False

    def infer(
        self, samples: Mapping[str, Sample], outputs: Mapping[str, Output], reference: Mapping[str, Output]
    ) -> dict[str, float]:
        """Sample → score, higher = more likely a member; samples without the needed outputs are left out.

        Args:
            samples: by identifier; whose answers are under suspicion.
            outputs: sample → the model's output on the original question.
            reference: the same of a model that was never trained on members or non-members; may be empty.
        """
        raise NotImplementedError


@dataclass(frozen=True)
class Subject:
    """A model under a white-box attack.

    Attributes:
        vlm: the model; its images are attached.
        data: what the attacker has.
        batch: questions per forward pass.
        notes: facts that one attack leaves for the report.
        reference: whether it is θ0 or the oracle of a run that trains adapters. Nothing has been unlearnt in it: what
            takes away the adapters of unlearning leaves it as it is.
    """

    vlm: VisionLanguageModel
    data: Data
    batch: int = 64
    notes: dict[str, Any] = field(default_factory=dict)
    reference: bool = False
