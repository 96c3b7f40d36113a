"""Names of structures as the codes that other systems know them by (SNOMED CT, as DICOM PS3.16 uses it).

A name that is not in the table gets a code of our own scheme, with the name as its meaning: never a guess.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

SCHEME = "99DIFFUSEUDA"
"""Private coding scheme: designators that begin with 99 are nobody's (PS3.16, 8.2)."""


@dataclass(frozen=True, slots=True)
class Code:
    """One coded concept."""

    value: str
    scheme: str
    meaning: str


@dataclass(frozen=True, kw_only=True, slots=True)
class StructureCode:
    """What a segment is."""

    category: Code
    structure: Code
    side: Code | None = None


ANATOMICAL = Code("91723000", "SCT", "Anatomical Structure")
TISSUE = Code("85756007", "SCT", "Tissue")
SUBSTANCE = Code("91720002", "SCT", "Body Substance")
ABNORMAL = Code("49755003", "SCT", "Morphologically Abnormal Structure")
LEFT = Code("7771000", "SCT", "Left")
RIGHT = Code("24028007", "SCT", "Right")

_CORTEX = Code("40146001", "SCT", "Cerebral cortex")
_GREY = Code("389081007", "SCT", "Gray Matter")
_WHITE = Code("389080008", "SCT", "White Matter")
_VENTRICLE = Code("35764002", "SCT", "Brain ventricle")
_STEM = Code("119238007", "SCT", "Brain Stem")
_CSF = Code("65216001", "SCT", "Cerebrospinal Fluid")
_MYOCARDIUM = Code("49848007", "SCT", "Left Ventricle Myocardium")
_LEFT_VENTRICLE = Code("87878005", "SCT", "Left ventricle")
_RIGHT_VENTRICLE = Code("53085002", "SCT", "Right ventricle")
_LEFT_ATRIUM = Code("82471001", "SCT", "Left atrium")
_RIGHT_ATRIUM = Code("73829009", "SCT", "Right atrium")
_ASCENDING_AORTA = Code("54247002", "SCT", "Ascending aorta")
_PULMONARY_ARTERY = Code("81040000", "SCT", "Pulmonary artery")
_KIDNEY = Code("64033007", "SCT", "Kidney")
_ADRENAL = Code("23451007", "SCT", "Adrenal gland")
_EDEMA = Code("79654002", "SCT", "Edema")
_NECROSIS = Code("6574001", "SCT", "Necrosis")
_TUMOUR = Code("108369006", "SCT", "Neoplasm")

_KNOWN: dict[str, StructureCode] = {
    # brain
    "cortical gm": StructureCode(category=ANATOMICAL, structure=_CORTEX),
    "cortical grey matter": StructureCode(category=ANATOMICAL, structure=_CORTEX),
    "cortex": StructureCode(category=ANATOMICAL, structure=_CORTEX),
    "grey matter": StructureCode(category=TISSUE, structure=_GREY),
    "gray matter": StructureCode(category=TISSUE, structure=_GREY),
    "white matter": StructureCode(category=TISSUE, structure=_WHITE),
    "ventricles": StructureCode(category=ANATOMICAL, structure=_VENTRICLE),
    "cerebellum": StructureCode(category=ANATOMICAL, structure=Code("113305005", "SCT", "Cerebellum")),
    "brainstem": StructureCode(category=ANATOMICAL, structure=_STEM),
    "brain stem": StructureCode(category=ANATOMICAL, structure=_STEM),
    "thalamus": StructureCode(category=ANATOMICAL, structure=Code("42695009", "SCT", "Thalamus")),
    "hippocampus": StructureCode(category=ANATOMICAL, structure=Code("5366008", "SCT", "Hippocampus")),
    "amygdala": StructureCode(category=ANATOMICAL, structure=Code("4958002", "SCT", "Amygdala")),
    "csf": StructureCode(category=SUBSTANCE, structure=_CSF),
    "external cerebrospinal fluid": StructureCode(category=SUBSTANCE, structure=_CSF),
    # heart
    "left ventricle": StructureCode(category=ANATOMICAL, structure=_LEFT_VENTRICLE),
    "right ventricle": StructureCode(category=ANATOMICAL, structure=_RIGHT_VENTRICLE),
    "left atrium": StructureCode(category=ANATOMICAL, structure=_LEFT_ATRIUM),
    "right atrium": StructureCode(category=ANATOMICAL, structure=_RIGHT_ATRIUM),
    "myocardium": StructureCode(category=ANATOMICAL, structure=_MYOCARDIUM),
    "ascending aorta": StructureCode(category=ANATOMICAL, structure=_ASCENDING_AORTA),
    "pulmonary artery": StructureCode(category=ANATOMICAL, structure=_PULMONARY_ARTERY),
    # abdomen
    "liver": StructureCode(category=ANATOMICAL, structure=Code("10200004", "SCT", "Liver")),
    "spleen": StructureCode(category=ANATOMICAL, structure=Code("78961009", "SCT", "Spleen")),
    "right kidney": StructureCode(category=ANATOMICAL, structure=_KIDNEY, side=RIGHT),
    "left kidney": StructureCode(category=ANATOMICAL, structure=_KIDNEY, side=LEFT),
    "kidney": StructureCode(category=ANATOMICAL, structure=_KIDNEY),
    "gallbladder": StructureCode(category=ANATOMICAL, structure=Code("28231008", "SCT", "Gallbladder")),
    "esophagus": StructureCode(category=ANATOMICAL, structure=Code("32849002", "SCT", "Esophagus")),
    "stomach": StructureCode(category=ANATOMICAL, structure=Code("69695003", "SCT", "Stomach")),
    "aorta": StructureCode(category=ANATOMICAL, structure=Code("15825003", "SCT", "Aorta")),
    "inferior vena cava": StructureCode(category=ANATOMICAL, structure=Code("64131007", "SCT", "Inferior vena cava")),
    "portal vein": StructureCode(category=ANATOMICAL, structure=Code("32764006", "SCT", "Portal vein")),
    "splenic vein": StructureCode(category=ANATOMICAL, structure=Code("35819009", "SCT", "Splenic vein")),
    "pancreas": StructureCode(category=ANATOMICAL, structure=Code("15776009", "SCT", "Pancreas")),
    "right adrenal gland": StructureCode(category=ANATOMICAL, structure=_ADRENAL, side=RIGHT),
    "left adrenal gland": StructureCode(category=ANATOMICAL, structure=_ADRENAL, side=LEFT),
    # tumours of the brain
    "edema": StructureCode(category=ABNORMAL, structure=_EDEMA),
    "necrosis": StructureCode(category=ABNORMAL, structure=_NECROSIS),
    "tumor": StructureCode(category=ABNORMAL, structure=_TUMOUR),
    "tumour": StructureCode(category=ABNORMAL, structure=_TUMOUR),
    "whole tumor": StructureCode(category=ABNORMAL, structure=_TUMOUR),
}


def known_structures() -> dict[str, StructureCode]:
    """The table, by plain name."""
    return dict(_KNOWN)


def structure_code(name: str) -> StructureCode:
    """What a class of a model is, from its name; case, `_`, `-` and spaces do not matter.

    Args:
        name: As the model has it, for instance `cortical_gm`.

    Returns:
        A SNOMED CT code where the name is known, otherwise one of our own scheme that says the name.
    """
    plain = " ".join(re.split(r"[\s_-]+", name.strip().lower()))
    if plain in _KNOWN:
        return _KNOWN[plain]
    digits = hashlib.sha256(plain.encode()).hexdigest()[:12]  # a code value has 16 characters at most
    return StructureCode(category=ANATOMICAL, structure=Code(f"N{digits}", SCHEME, name.strip()[:64]))
