"""Plain words for the coded values of a DICOM header. What stands in no table here is never repeated.

Answers are taken from these tables only, so that nothing a technician has typed into a header can reach a record.
"""

from __future__ import annotations

import re

MODALITIES = {
    "CT": "CT", "MR": "MRI", "CR": "X-ray", "DX": "X-ray", "RG": "X-ray", "MG": "mammography", "US": "ultrasound",
    "IVUS": "intravascular ultrasound", "NM": "nuclear medicine", "PT": "PET", "XA": "angiography",
    "RF": "fluoroscopy", "ES": "endoscopy", "OP": "fundus photography", "OPT": "optical coherence tomography",
    "OCT": "optical coherence tomography", "SM": "microscopy", "GM": "microscopy", "XC": "photography",
    "IO": "dental X-ray", "PX": "panoramic X-ray",
}  # fmt: skip
"""Modality (0008,0060) → its name (PS3.3 C.7.3.1.1.1)."""

SYNONYMS = {
    "CT": ("computed tomography", "CT scan"), "MRI": ("MR", "magnetic resonance imaging"),
    "X-ray": ("radiography", "radiograph", "plain film"), "mammography": ("mammogram",),
    "ultrasound": ("sonography", "ultrasonography"), "nuclear medicine": ("scintigraphy",),
    "PET": ("positron emission tomography", "PET scan"), "angiography": ("angiogram", "X-ray angiography"),
    "microscopy": ("light microscopy",), "anteroposterior": ("AP",), "posteroanterior": ("PA",),
    "craniocaudal": ("CC",), "mediolateral oblique": ("MLO",), "axial": ("transverse",), "anterior": ("front",),
    "posterior": ("back",), "head first, supine": ("supine, head first",),
    "feet first, supine": ("supine, feet first",),
}  # fmt: skip
"""Answers here → other answers that are as true."""

NOUNS = {
    "CT": "CT scan", "MRI": "MRI scan", "X-ray": "X-ray", "mammography": "mammogram", "ultrasound": "ultrasound image",
    "nuclear medicine": "nuclear medicine image", "PET": "PET scan", "angiography": "angiogram",
    "endoscopy": "endoscopy image", "microscopy": "microscopy image", "fundus photography": "fundus photograph",
    "dental X-ray": "dental X-ray", "panoramic X-ray": "panoramic X-ray",
}  # fmt: skip
"""Modality → how a question calls its picture; ``image`` where none is given."""

NOT_PICTURES = frozenset({"SEG", "RTDOSE", "RTSTRUCT", "RTPLAN", "PR", "KO", "SR", "REG", "DOC", "AU", "ECG", "HD"})
"""Modalities of objects that hold no picture of a patient, though some have pixel data."""

_BODY_PARTS = """
ABDOMEN ADRENAL ANKLE AORTA ARM AXILLA BACK BLADDER BRAIN BREAST BRONCHUS BUTTOCK CALCANEUS CALF CEREBELLUM CERVIX CHEEK
CHEST CLAVICLE COCCYX COLON CORNEA DUODENUM EAR ELBOW ESOPHAGUS EXTREMITY EYE EYELID FACE FEMUR FINGER FOOT FOREARM
GALLBLADDER HAND HEAD HEART HIP HUMERUS ILEUM ILIUM JAW JEJUNUM KIDNEY KNEE LARYNX LEG LIVER LUNG MAXILLA MEDIASTINUM
MOUTH NECK NOSE ORBIT OVARY PANCREAS PATELLA PELVIS PENIS PHARYNX PROSTATE RADIUS RECTUM RETINA RIB SCALP SCAPULA SCLERA
SCROTUM SHOULDER SKULL SPINE SPLEEN STERNUM STOMACH TESTIS THIGH THUMB THYMUS THYROID TIBIA TOE TONGUE TRACHEA ULNA
URETER URETHRA UTERUS VAGINA VULVA WRIST ZYGOMA
"""

BODY_PARTS = {
    **{part: part.lower() for part in _BODY_PARTS.split()},
    "ABDOMENPELVIS": "abdomen and pelvis", "CAROTID": "carotid artery", "CHESTABDOMEN": "chest and abdomen",
    "CHESTABDPELVIS": "chest, abdomen and pelvis", "CIRCLEOFWILLIS": "circle of Willis",
    "CORONARYARTERY": "coronary artery", "CSPINE": "cervical spine", "CTSPINE": "cervicothoracic spine",
    "FOREFOOT": "foot", "HEADNECK": "head and neck", "HINDFOOT": "foot", "IAC": "internal auditory canal",
    "LOWERLEG": "lower leg", "LOWEREXTREMITY": "lower extremity", "UPPEREXTREMITY": "upper extremity",
    "LSPINE": "lumbar spine", "LSSPINE": "lumbosacral spine", "NECKCHEST": "neck and chest",
    "NECKCHESTABDOMEN": "neck, chest and abdomen", "NECKCHESTABDPELV": "neck, chest, abdomen and pelvis",
    "PAROTID": "parotid gland", "SSPINE": "sacrum", "SACRUM": "sacrum", "SUBMANDIBULAR": "submandibular gland",
    "THORAX": "chest", "TLSPINE": "thoracolumbar spine", "TMJ": "temporomandibular joint", "TSPINE": "thoracic spine",
    "WHOLEBODY": "whole body", "CERVICALSPINE": "cervical spine", "THORACICSPINE": "thoracic spine",
    "LUMBARSPINE": "lumbar spine", "EYES": "eye", "LUNGS": "lung", "KIDNEYS": "kidney", "HANDS": "hand",
}  # fmt: skip
"""Body Part Examined (0018,0015), or the meaning of an anatomic region's code, as ``code_word`` gives it (PS3.16 L)."""

VIEWS = {
    "AP": "anteroposterior", "PA": "posteroanterior", "LL": "left lateral", "RL": "right lateral",
    "LLD": "left lateral decubitus", "RLD": "right lateral decubitus", "LLO": "left lateral oblique",
    "RLO": "right lateral oblique", "LAT": "lateral", "LATERAL": "lateral", "CC": "craniocaudal",
    "MLO": "mediolateral oblique", "ML": "mediolateral", "LM": "lateromedial", "LMO": "lateromedial oblique",
    "ANTEROPOSTERIOR": "anteroposterior", "POSTEROANTERIOR": "posteroanterior", "LEFTLATERAL": "left lateral",
    "RIGHTLATERAL": "right lateral", "CRANIOCAUDAL": "craniocaudal", "MEDIOLATERALOBLIQUE": "mediolateral oblique",
    "MEDIOLATERAL": "mediolateral", "LATEROMEDIAL": "lateromedial",
}  # fmt: skip
"""View Position (0018,5101), or the meaning of a view's code, as ``code_word`` gives it."""

SIDES = {"L": "left", "R": "right", "B": "both"}
"""Laterality (0020,0060), (0020,0062) and (0020,9072)."""

DIRECTIONS = {"L": "left", "R": "right", "A": "anterior", "P": "posterior", "H": "head", "F": "feet"}
"""Patient Orientation (0020,0020): where an edge of the image points."""

POSITIONS = {
    "HFS": "head first, supine", "HFP": "head first, prone", "FFS": "feet first, supine", "FFP": "feet first, prone",
    "HFDL": "head first, lying on the left side", "HFDR": "head first, lying on the right side",
    "FFDL": "feet first, lying on the left side", "FFDR": "feet first, lying on the right side",
}  # fmt: skip
"""Patient Position (0018,5100)."""

AGENTS = {
    "omnipaque": "iohexol", "accupaque": "iohexol", "visipaque": "iodixanol", "isovue": "iopamidol",
    "iopamiro": "iopamidol", "iopamiron": "iopamidol", "niopam": "iopamidol", "solutrast": "iopamidol",
    "ultravist": "iopromide", "optiray": "ioversol", "xenetix": "iobitridol", "iomeron": "iomeprol",
    "imeron": "iomeprol", "hexabrix": "ioxaglate", "magnevist": "gadopentetate", "gadovist": "gadobutrol",
    "gadavist": "gadobutrol", "dotarem": "gadoterate", "clariscan": "gadoterate", "prohance": "gadoteridol",
    "multihance": "gadobenate", "omniscan": "gadodiamide", "eovist": "gadoxetate", "primovist": "gadoxetate",
    "optimark": "gadoversetamide", "elucirem": "gadopiclenol", "vueway": "gadopiclenol",
    "sonovue": "sulfur hexafluoride", "lumason": "sulfur hexafluoride", "definity": "perflutren",
    "optison": "perflutren", "barium": "barium sulfate",
}  # fmt: skip
"""Trade name of a contrast agent → its generic name."""

AGENTS |= {name: name for name in AGENTS.values() if " " not in name}

_GIVEN = frozenset({"yes", "ce", "contrast", "gad", "gadolinium", "gd", "iodine", "iodinated", "iv", "oral"})
_NOT_GIVEN = frozenset({
    "no", "none", "nil", "without", "native", "unenhanced", "noncontrast", "no contrast", "non contrast",
    "without contrast", "no contrast given",
})  # fmt: skip
_NEGATIONS = frozenset({"no", "none", "nil", "non", "not", "without"})


def code_word(code: str) -> str:
    """A coded value or a code's meaning in the form the tables use: capitals and letters only."""
    return re.sub(r"[^A-Z]", "", code.upper())


def contrast(described: str) -> tuple[str | None, str | None]:
    """Whether contrast was given (``yes``, ``no`` or None), and which agent, from Contrast/Bolus Agent (0018,0010).

    The element is free text: words that are in no table count for nothing, and a mixed message says nothing.
    """
    plain = re.sub(r"non-?ionic", " ", described.lower()).replace("w/o", "without")
    words = re.findall(r"[a-z]+", plain)
    if " ".join(words) in _NOT_GIVEN:
        return "no", None
    if _NEGATIONS.intersection(words):
        return None, None
    agents = {AGENTS[word] for word in words if word in AGENTS}
    given = agents or _GIVEN.intersection(words)
    return "yes" if given else None, agents.pop() if len(agents) == 1 else None
