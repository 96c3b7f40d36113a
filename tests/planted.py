"""A patient's name, put wherever a hospital may have it, and a search for it in bytes, however they are written."""

from __future__ import annotations

import base64
import json
import shutil
from pathlib import Path

import nibabel as nib

STEM = "Qv7" + "Doe"
"""What every planted token begins with; in two pieces, because this very file travels to the sites of a test."""
PATIENT = f"{STEM}^Jane"
"""In error texts, keys, names of tensors."""
FOLDER = f"{STEM}Folder"
PATH = f"/scans/{FOLDER}/{STEM}File_t1.nii.gz"


def planted_copy(scans: Path, folder: Path) -> Path:
    """Copy a site's scans and plant the name in their folder, file names, headers and description.

    Args:
        scans: Folder in the nnU-Net layout.
        folder: Where the copy goes, below a folder of the patient's name.

    Returns:
        The copy.
    """
    copy = folder / FOLDER / scans.name
    shutil.copytree(scans, copy)
    for file in sorted(copy.rglob("*.nii.gz")):
        image = nib.load(file)
        for field, length in (("descrip", 79), ("aux_file", 23), ("db_name", 17), ("intent_name", 15)):
            image.header[field] = PATIENT.encode()[:length]
        nib.save(image, file.with_name(f"{STEM}-{file.name}"))
        file.unlink()
    description = json.loads((copy / "dataset.json").read_text(encoding="utf-8"))
    description |= {"name": PATIENT, "description": PATH, "reference": PATIENT, STEM: PATIENT}
    description["evaluation"] = {
        part: [f"{STEM}-{case}" for case in cases] for part, cases in description["evaluation"].items()
    }
    (copy / "dataset.json").write_text(json.dumps(description), encoding="utf-8")
    return copy


def spellings(text: str = STEM) -> list[bytes]:
    """How a text may stand in bytes: as it is, in two bytes a letter, in hex digits, in base64 wherever it begins."""
    raw = text.encode()
    found = [raw, text.encode("utf-16-le"), raw.hex().encode(), raw.hex().upper().encode()]
    for shift in range(3):
        coded = base64.b64encode(b"\0" * shift + raw)
        found.append(coded[-(-shift * 8 // 6) : (shift + len(raw)) * 8 // 6])  # letters that depend on nothing else
    return found


def holds_a_name(data: bytes) -> list[bytes]:
    """Spellings of the planted name that are in some bytes."""
    lower = data.lower()
    return [one for one in spellings() if one in data] + [one for one in (STEM.lower().encode(),) if one in lower]
