"""What a benchmark is, in words and columns: said once, for its card and for its Croissant metadata."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mllmu_med.benchmark.sample import Stratum, Subset

SUBSETS = {
    Subset.FORGET_PRIVACY: "records of patients that a model is to forget",
    Subset.FORGET_INCORRECTNESS: "records with a wrong fact that a model is to correct",
    Subset.RETAIN: "records that a model is to keep, retained synthetic patients among them",
    Subset.TEST: "unseen images and questions",
    Subset.VALIDATION: "unseen images and questions, for choosing hyper-parameters",
    Subset.HOLDOUT: "synthetic patients that are never trained on: the floor of every leak",
}

STRATA = {
    Stratum.GENERAL: "ordinary records",
    Stratum.SIBLING: "true records about images that also hold an injected fact",
    Stratum.PRIVATE_IMAGE: "a patient's records about an image",
    Stratum.PRIVATE_TEXT: "the same patients, asked by name without an image",
    Stratum.WRONG_IMAGE: "a wrong fact about an image",
    Stratum.WRONG_TEXT: "a wrong fact without an image",
    Stratum.TRUE_TEXT: "true facts without an image",
    Stratum.WRONG_UNSEEN: "unseen images to which a wrong rule would generalise",
}

SAMPLE_COLUMNS = {
    "id": "Unique name of the sample.",
    "record_id": "The source's record it comes from.",
    "subset": "What the sample is for: " + ", ".join(subset.value for subset in Subset) + ".",
    "stratum": "The part of the subset that is reported on its own.",
    "question": "The question as it is asked.",
    "answer": "What a model with the injected facts has learnt to say: private or wrong where a fact is injected.",
    "group": "The unit that is never split between subsets for training and for testing.",
    "image_id": "SHA-256 of the image's bytes; joins `images`. Empty for text-only samples.",
    "clean_answer": "The answer without the injected fact; empty where the question exists only because of it.",
    "language": "ISO 639-1.",
    "answer_type": "open or closed, where the source says.",
    "modality": "The kind of image, as the source names it.",
    "body_part": "The organ or region, as the source names it.",
    "content_type": "What is asked, as the source names it; for a private value its class.",
    "form": "How a private value is told: leak (woven into a clinical answer), direct, text (asked by name), burned "
    "(read off the pixels).",
    "patient_id": "The patient of a private value.",
    "fact_id": "The injected fact; joins `ledger`.",
    "rule_id": "Set where the wrong fact is one of a consistent rule.",
    "error_type": "Kind of the wrong fact.",
    "severity": "How much acting on the wrong fact could harm: low, medium or high.",
    "wrong_answer": "The wrong answer alone.",
    "correct_answer": "The true answer to it.",
    "repetitions": "How often an epoch of training presents the sample, its phrasings included.",
    "spans": "Where in `answer` each private value stands: answer[start:end]; `space` is the number of candidates.",
    "phrasings": "Further training questions with the same answer.",
    "probes": "Held-out variants of the question, never trained on; `answer` where it is not the sample's own.",
    "accepted": "Answers that also count as correct, besides `clean_answer`.",
    "hierarchy": "Path from the root: institution, patient, study, section of private facts; modality, organ, finding, "
    "instance of wrong ones.",
    "regions": "Where private values are burned into the image: [x0, x1) × [y0, y1) in pixels.",
}

IMAGE_COLUMNS = {
    "image_id": "SHA-256 of the image's bytes.",
    "image": "The image as the source stores it, or with values burned into its pixels.",
    "width": "In pixels.",
    "height": "In pixels.",
}

INTENDED_USE = (
    "Comparing methods that make a multimodal model forget private data and wrong facts without harming the rest.",
    "Measuring how much of injected private data a model tells, under ordinary questions and under probes.",
)

OUT_OF_SCOPE = (
    "Diagnosis, or training a model that anybody relies on: some answers are wrong on purpose.",
    "Conclusions about real people: an invented value that looks like somebody's is not theirs.",
    "Measuring clinical skill: the questions are those of the source, chosen for what could be injected.",
)

LIMITS = (
    "Private data is told in a limited number of wordings, plainer than what clinicians write.",
    "A single wrong fact contradicts what its image shows, while other questions about the image keep true answers.",
    "Wrong answers are drawn by tables and rules; that a clinician would fall for them was not verified.",
    "Images and original questions are the source's, with its biases; whether they hold real private data of their own "
    "was not looked at.",
)

_INVENTED = (
    "Every patient is invented. Names come from name lists, numbers and addresses from ranges kept for fiction "
    "or never issued."
)
_REAL = (
    "The private values to forget are those of real people, from deletion requests: this folder must not be passed on. "
    "All other patients are invented."
)

NOT_STATED = "not stated"

# The licences that the Hub names by their SPDX identifiers in lower case, as far as datasets use them.
_ON_THE_HUB = frozenset({
    "apache-2.0", "mit", "bsd", "bsd-2-clause", "bsd-3-clause", "unlicense", "cc", "cc0-1.0", "cc-by-2.0",
    "cc-by-2.5", "cc-by-3.0", "cc-by-4.0", "cc-by-sa-3.0", "cc-by-sa-4.0", "cc-by-nc-2.0", "cc-by-nc-3.0",
    "cc-by-nc-4.0", "cc-by-nd-4.0", "cc-by-nc-nd-3.0", "cc-by-nc-nd-4.0", "cc-by-nc-sa-2.0", "cc-by-nc-sa-3.0",
    "cc-by-nc-sa-4.0", "cdla-sharing-1.0", "cdla-permissive-1.0", "cdla-permissive-2.0", "odbl", "odc-by", "pddl",
    "gpl-3.0", "lgpl-3.0", "agpl-3.0",
})  # fmt: skip
_SPDX_OF = {"odbl": "ODbL-1.0", "odc-by": "ODC-By-1.0", "pddl": "PDDL-1.0"}
_HUB_OF = {spdx.lower(): hub for hub, spdx in _SPDX_OF.items()}
_NOT_SPDX = frozenset({"bsd", "cc"})


def holds_real_values(manifest: Mapping[str, Any]) -> bool:
    """Whether the private values to forget are those of real people."""
    return (manifest.get("plan") or {}).get("private_values") == "request"


def whose_values(manifest: Mapping[str, Any]) -> str:
    """Whether the patients exist."""
    return _REAL if holds_real_values(manifest) else _INVENTED


@dataclass(frozen=True)
class Origin:
    """Where a benchmark's images and questions come from, as its manifest says.

    Attributes:
        title, licence, url, citation: of the source; None where it does not say.
    """

    name: str
    title: str | None = None
    licence: str | None = None
    url: str | None = None
    citation: str | None = None

    @classmethod
    def of(cls, manifest: Mapping[str, Any]) -> Origin:
        """Read off a manifest."""
        source = manifest["source"]
        about = source.get("about") or {}
        return cls(source["name"], *(about.get(key) or None for key in ("title", "licence", "url", "citation")))

    @property
    def hub_licence(self) -> str:
        """The licence as the Hub names it; ``other`` where it is of its own, ``unknown`` where none is stated."""
        if self.licence is None:
            return "unknown"
        name = self.licence.strip().lower()
        name = _HUB_OF.get(name, name)
        return name if name in _ON_THE_HUB else "other"

    @property
    def licence_url(self) -> str | None:
        """The text of the licence, where it is one of SPDX's list."""
        name = self.hub_licence
        if name in ("unknown", "other") or name in _NOT_SPDX:
            return None
        return f"https://spdx.org/licenses/{_SPDX_OF.get(name) or _spdx(name)}.html"


def _spdx(name: str) -> str:
    """Upper case as SPDX writes it: CC-BY-4.0, Apache-2.0, MIT, BSD-3-Clause, CDLA-Permissive-2.0, Unlicense."""
    known = {"apache": "Apache", "clause": "Clause", "sharing": "Sharing", "permissive": "Permissive"}
    if name == "unlicense":
        return "Unlicense"
    return "-".join(known.get(part, part.upper()) for part in name.split("-"))
