"""Synthetic patients: medical identities with the eighteen Safe Harbor identifiers, none of which can be anybody's.

Where a range is reserved for fiction or never issued, values come from it; every format says why its values are
nobody's (docs/reference/identities.md lists them). The number of candidates of every identifier is known, so that a
guess can be told from a memory. No value is derived from another one of the same patient: an e-mail address that held
the name would be "recovered" by anyone who knows the name.
"""

from mllmu_med.benchmark.identities.addresses import INSTITUTIONS, PHYSICIANS, institution, physician
from mllmu_med.benchmark.identities.classes import CLASSES, LOCALES, SAFE_HARBOR, candidate, candidate_space
from mllmu_med.benchmark.identities.identities import Identities, Patient, PrivateValue

__all__ = [
    "CLASSES",
    "INSTITUTIONS",
    "LOCALES",
    "PHYSICIANS",
    "SAFE_HARBOR",
    "Identities",
    "Patient",
    "PrivateValue",
    "candidate",
    "candidate_space",
    "institution",
    "physician",
]
