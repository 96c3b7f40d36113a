"""A folder in the nnU-Net v2 layout, as cases that any reader gives: `imagesTr` to train, `imagesTs` to test."""

from __future__ import annotations

from pathlib import Path

from diffuse_uda.data.formats.contract import ListedCase, Listing, NiftiFile, Part, Problems, finished_listing
from diffuse_uda.data.formats.nnunet import CaseFiles, CentreFolder, read_centre

LAYOUT = "nnunet"


def list_nnunet(root: Path) -> Listing:
    """List the cases of one folder in the nnU-Net v2 layout.

    Args:
        root: Holds `dataset.json`, `imagesTr`, ...; see `diffuse_uda.data.formats.nnunet`.

    Raises:
        InputError: With every broken rule of names and description.
    """
    centre = read_centre(root)
    development = set(centre.evaluation.get("development", ()))
    cases = [_listed(case, "train") for case in centre.train]
    cases += [_listed(case, "development" if case.case_id in development else "test") for case in centre.test]
    return finished_listing(
        LAYOUT, root, cases, Problems(LAYOUT), label_names=_structures(centre), channel_name=centre.channel_name
    )


def _listed(case: CaseFiles, part: Part) -> ListedCase:
    label_map = None if case.label_map is None else NiftiFile(path=case.label_map)
    return ListedCase(
        case_id=case.case_id,
        patient=case.case_id,
        place=case.image,
        image=NiftiFile(path=case.image),
        label_map=label_map,
        part=part,
    )


def _structures(centre: CentreFolder) -> dict[int, str]:
    return {value: name for value, name in centre.label_names.items() if value != 0}
