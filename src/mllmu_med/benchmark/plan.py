"""The plan: every number and choice of a benchmark, as one validated value."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from mllmu_med.errors import UsageError
from mllmu_med.registry import did_you_mean

PHI_CLASSES = (
    "name", "geography", "date", "phone", "fax", "email", "ssn", "mrn", "health_plan", "account", "licence",
    "vehicle", "device", "url", "ip", "biometric", "photo", "other",
)  # fmt: skip
"""The 18 Safe Harbor identifiers of 45 CFR 164.514(b)(2), in the regulation's order."""

ERROR_TYPES = ("laterality", "presence", "organ", "modality", "finding", "count", "size", "location")
"""Kinds of wrong facts about an image."""

DEFAULT_CLASSES = (
    "name", "mrn", "date", "phone", "geography", "email", "ssn", "health_plan", "account", "device",
)  # fmt: skip

DEFAULT_ERROR_TYPES = ("laterality", "presence", "organ", "modality", "count", "size")


@dataclass(frozen=True)
class BenchmarkPlan:
    """What is injected, how often, and how the source is divided. The same plan, source and seed give the same bytes.

    Attributes:
        patients_forgotten: synthetic patients in ``forget/privacy``, one per image group of the training part.
        patients_retained: synthetic patients whose records stay in ``retain``.
        patients_holdout: synthetic patients whose images and records are never trained on.
        phi_classes: identifiers to use, of :data:`PHI_CLASSES`; must hold ``name``.
        fields_per_patient: identifiers per patient, the name included; the others rotate over ``phi_classes``.
        leaks_per_patient: clinical questions per patient whose answer volunteers private data.
        repetitions: training wordings per injected fact (question included); with several numbers the facts take turns.
        wrong_rules: consistent errors "finding X is read as Y" over all training records of X in one modality.
        wrong_image_facts: single wrong facts about images, one per image group.
        wrong_text_facts: wrong facts without an image (0 where the source has none; counted).
        error_types: kinds of single wrong image facts, of :data:`ERROR_TYPES`, taken in turn.
        rule_share: largest share of the training image groups that one rule may touch, in (0, 1].
        general_phrasings: extra training wordings of every ordinary training record, so that wording does not tell
            injected records from ordinary ones.
        forget_ratio: if set, in (0, 0.5]: share of the training groups whose facts are to be forgotten, in each
            scenario; replaces ``patients_forgotten``, ``wrong_image_facts`` and ``wrong_text_facts``.
        split: ``source`` follows the source's splits (``own`` is used where it names no test images);
            ``own`` divides the groups anew.
        test_share, validation_share: shares of the groups under ``own``.
        rewriter: registered rewriter that turns private values and an answer into one text.
    """

    patients_forgotten: int = 12
    patients_retained: int = 36
    patients_holdout: int = 12
    phi_classes: tuple[str, ...] = DEFAULT_CLASSES
    fields_per_patient: int = 4
    leaks_per_patient: int = 2
    repetitions: tuple[int, ...] = (6,)
    wrong_rules: int = 2
    wrong_image_facts: int = 24
    wrong_text_facts: int = 16
    error_types: tuple[str, ...] = DEFAULT_ERROR_TYPES
    rule_share: float = 0.1
    general_phrasings: int = 1
    forget_ratio: float | None = None
    split: str = "source"
    test_share: float = 0.2
    validation_share: float = 0.0
    rewriter: str = "template"

    def __post_init__(self) -> None:
        for name in ("phi_classes", "error_types", "repetitions"):  # a recipe gives lists
            value = getattr(self, name)
            object.__setattr__(self, name, (value,) if isinstance(value, int | str) else tuple(value))
        self._check_counts()
        self._check_names("phi_classes", PHI_CLASSES)
        self._check_names("error_types", ERROR_TYPES)
        if "name" not in self.phi_classes:
            raise UsageError("benchmark.phi_classes must hold 'name': text-only questions address a patient by name")
        if self.fields_per_patient > len(self.phi_classes):
            raise UsageError(
                f"benchmark.fields_per_patient is {self.fields_per_patient}, but phi_classes holds only "
                f"{len(self.phi_classes)}"
            )
        if not self.repetitions or not all(1 <= number <= 8 for number in self.repetitions):
            raise UsageError(f"benchmark.repetitions must be numbers from 1 to 8, not {list(self.repetitions)}")
        if self.forget_ratio is not None and not 0 < self.forget_ratio <= 0.5:
            raise UsageError(f"benchmark.forget_ratio must be in (0, 0.5], not {self.forget_ratio}")
        if not 0 < self.rule_share <= 1:
            raise UsageError(f"benchmark.rule_share must be in (0, 1], not {self.rule_share}")
        if self.split not in ("source", "own"):
            raise UsageError(f"benchmark.split must be 'source' or 'own', not '{self.split}'")
        if self.test_share < 0 or self.validation_share < 0 or self.test_share + self.validation_share >= 1:
            raise UsageError("benchmark.test_share and validation_share must be at least 0 and together below 1")

    def _check_counts(self) -> None:
        least = {"fields_per_patient": 2, "leaks_per_patient": 1}
        names = (
            "patients_forgotten", "patients_retained", "patients_holdout", "fields_per_patient", "leaks_per_patient",
            "wrong_rules", "wrong_image_facts", "wrong_text_facts", "general_phrasings",
        )  # fmt: skip
        for name in names:
            value, minimum = getattr(self, name), least.get(name, 0)
            if isinstance(value, bool) or not isinstance(value, int) or value < minimum:
                raise UsageError(f"benchmark.{name} must be a whole number of at least {minimum}, not {value!r}")

    def _check_names(self, field: str, known: tuple[str, ...]) -> None:
        names: tuple[str, ...] = getattr(self, field)
        for name in names:
            if name not in known:
                raise UsageError(
                    f"benchmark.{field}: unknown '{name}'{did_you_mean(str(name), list(known))}; known: "
                    f"{', '.join(known)}"
                )
        if len(set(names)) != len(names):
            raise UsageError(f"benchmark.{field} names something twice")

    def as_dict(self) -> dict[str, Any]:
        """JSON-able form, for the manifest."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}
