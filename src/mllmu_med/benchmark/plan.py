"""The plan: every number and choice of a benchmark, as one validated value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from mllmu_med.benchmark.identities import candidate_space
from mllmu_med.benchmark.requests import PATIENT_LEVELS, Requests
from mllmu_med.errors import UsageError
from mllmu_med.registry import did_you_mean

PHI_CLASSES = (
    "name", "geography", "date", "phone", "fax", "email", "ssn", "mrn", "health_plan", "account", "licence",
    "vehicle", "device", "url", "ip", "biometric", "photo", "other",
)  # fmt: skip
"""The 18 Safe Harbor identifiers of 45 CFR 164.514(b)(2), in the regulation's order."""

ADDITIONAL_CLASSES = ("admission", "age", "facility", "physician")
"""Further identifiers: two more of the regulation's dates (``date`` is that of birth), the hospital, the referrer."""

ERROR_TYPES = (
    "laterality", "presence", "organ", "modality", "finding", "count", "size", "location", "drug", "dose", "free_text",
    "knowledge",
)  # fmt: skip
"""Kinds of wrong facts; ``knowledge`` is that of facts without an image."""

FORMS = ("leak", "direct", "text", "burned")
"""How private values are told: woven into a clinical answer, asked for, asked for by name, burned into the pixels."""

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
        phi_classes: identifiers to use, of :data:`PHI_CLASSES` and :data:`ADDITIONAL_CLASSES`; must hold ``name``.
        formats: ``varied`` writes each identifier in several ways; ``plain`` in one short way, which a tiny model can
            learn.
        locales: where the patients come from, equally likely; Chinese records always get Chinese patients.
        forms: of :data:`FORMS`; ``leak`` and ``direct`` are always among them.
        burned_share: share of the patients of each role whose image carries values in its pixels, in [0, 1]; only
            with ``burned`` among the forms.
        institutions: invented hospitals over which the patients are spread.
        studies_per_patient: image groups of one patient, each with values of its own.
        forget_level: ``institution``, ``patient``, ``study`` (a patient's first) or ``section`` (one per patient);
            the rest of these patients is retained.
        requests: what is to be forgotten by name (``patient=P17``, ``modality=CT``), at any level of the source's own
            hierarchy; replaces ``patients_forgotten`` where patients are named, and confines wrong facts to what is
            named elsewhere.
        private_values: ``synthetic``, or ``request``: the patients of ``request_file`` are the ones to be forgotten,
            with their real values; the folder then holds real private data. All others stay invented.
        request_file: a file of deletion requests (see ``sources.requests``); only with ``private_values: request``.
        fields_per_patient: identifiers per patient, the name included; the others rotate over ``phi_classes``.
        leaks_per_patient: clinical questions per patient whose answer volunteers private data.
        repetitions: training wordings per injected fact (question included); with several numbers the facts take turns.
        wrong_rules: consistent errors "finding X is read as Y" over all training records of X in one modality.
        wrong_image_facts: single wrong facts about images, one per image group.
        wrong_text_facts: wrong facts without an image (0 where the source has none; counted).
        error_types: kinds of single wrong image facts, of :data:`ERROR_TYPES`, taken in turn.
        wrong_style: ``short``: the wrong answer alone, as the source answers; ``sentence``: told by the rewriter.
        rule_share: largest share of the training image groups that one rule may touch, in (0, 1].
        general_phrasings: extra training wordings of every ordinary training record, so that wording does not tell
            injected records from ordinary ones.
        forget_ratio: if set, in (0, 0.5]: share of the training groups whose facts are to be forgotten, in each
            scenario; replaces ``patients_forgotten``, ``wrong_image_facts`` and ``wrong_text_facts``.
        split: ``source`` follows the source's splits (``own`` is used where it names no test images);
            ``own`` divides the groups anew.
        test_share, validation_share: shares of the groups under ``own``.
        similar_images: ``merge`` keeps images that are the same to the eye in one part, ``keep`` looks at bytes alone.
        rewriter: what turns private values and an answer into one text: a registered name, or a mapping with ``name``
            and the rewriter's own arguments.
    """

    patients_forgotten: int = 12
    patients_retained: int = 36
    patients_holdout: int = 12
    phi_classes: tuple[str, ...] = DEFAULT_CLASSES
    formats: str = "varied"
    locales: tuple[str, ...] = ("en_US",)
    forms: tuple[str, ...] = ("leak", "direct", "text")
    burned_share: float = 1.0
    institutions: int = 3
    studies_per_patient: int = 1
    forget_level: str = "patient"
    requests: tuple[str, ...] = ()
    private_values: str = "synthetic"
    request_file: str | None = None
    fields_per_patient: int = 4
    leaks_per_patient: int = 2
    repetitions: tuple[int, ...] = (6,)
    wrong_rules: int = 2
    wrong_image_facts: int = 24
    wrong_text_facts: int = 16
    error_types: tuple[str, ...] = DEFAULT_ERROR_TYPES
    wrong_style: str = "short"
    rule_share: float = 0.1
    general_phrasings: int = 1
    forget_ratio: float | None = None
    split: str = "source"
    test_share: float = 0.2
    validation_share: float = 0.0
    similar_images: str = "merge"
    rewriter: str | Mapping[str, Any] = "template"

    def __post_init__(self) -> None:
        # A recipe gives lists.
        for name in ("phi_classes", "error_types", "repetitions", "locales", "forms", "requests"):
            value = getattr(self, name)
            object.__setattr__(self, name, (value,) if isinstance(value, int | str) else tuple(value))
        self._check_counts()
        self._check_names("phi_classes", (*PHI_CLASSES, *ADDITIONAL_CLASSES))
        self._check_names("error_types", ERROR_TYPES)
        self._check_names("forms", FORMS)
        self._check_choice("formats", ("varied", "plain"))
        self._check_choice("forget_level", PATIENT_LEVELS)
        self._check_choice("wrong_style", ("short", "sentence"))
        self._check_choice("similar_images", ("merge", "keep"))
        self._check_choice("split", ("source", "own"))
        self._check_choice("private_values", ("synthetic", "request"))
        if (self.private_values == "request") != (self.request_file is not None):
            raise UsageError("benchmark.request_file belongs to benchmark.private_values 'request', and to that alone")
        if self.private_values == "request" and "burned" in self.forms:
            raise UsageError("benchmark.forms: real values are never drawn into images; leave out 'burned'")
        if self.private_values == "request" and (self.forget_level != "patient" or self.studies_per_patient > 1):
            raise UsageError("benchmark.private_values 'request' forgets whole patients, with one group each")
        Requests(self.requests)  # says what cannot be read
        if not {"leak", "direct"} <= set(self.forms):
            raise UsageError("benchmark.forms must hold 'leak' and 'direct': they are what leakage is measured by")
        if not self.locales:
            raise UsageError("benchmark.locales must name at least one, e.g. en_US")
        candidate_space("mrn", locales=self.locales)  # says which locale it does not know
        if self.forget_level == "study" and self.studies_per_patient < 2:
            raise UsageError("benchmark.forget_level 'study' needs benchmark.studies_per_patient of at least 2")
        if self.forget_level == "institution" and self.institutions < 2:
            raise UsageError("benchmark.forget_level 'institution' needs benchmark.institutions of at least 2")
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
        if not 0 <= self.burned_share <= 1:
            raise UsageError(f"benchmark.burned_share must be in [0, 1], not {self.burned_share}")
        if not 0 < self.rule_share <= 1:
            raise UsageError(f"benchmark.rule_share must be in (0, 1], not {self.rule_share}")
        if self.test_share < 0 or self.validation_share < 0 or self.test_share + self.validation_share >= 1:
            raise UsageError("benchmark.test_share and validation_share must be at least 0 and together below 1")

    def _check_counts(self) -> None:
        least = {"fields_per_patient": 2, "leaks_per_patient": 1, "institutions": 1, "studies_per_patient": 1}
        names = (
            "patients_forgotten", "patients_retained", "patients_holdout", "fields_per_patient", "leaks_per_patient",
            "wrong_rules", "wrong_image_facts", "wrong_text_facts", "general_phrasings",
            "institutions", "studies_per_patient",
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

    def _check_choice(self, field: str, known: tuple[str, ...]) -> None:
        value = str(getattr(self, field))
        if value not in known:
            raise UsageError(
                f"benchmark.{field} must be one of {', '.join(known)}, not '{value}'{did_you_mean(value, list(known))}"
            )

    def as_dict(self) -> dict[str, Any]:
        """JSON-able form, for the manifest."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}
