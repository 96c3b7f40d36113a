"""A label map of a DICOM series as a DICOM segmentation object (PS3.3 A.51): one segment a structure.

The file is read back by other code than wrote it and compared in patient space before it gets its name.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version
from pathlib import Path

import highdicom as hd
import numpy as np
from highdicom.coding_schemes import CodingSchemeIdentificationItem
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import generate_uid

from diffuse_uda.data.atomic import replaced_atomically
from diffuse_uda.data.volumes import Volume, require_same_grid
from diffuse_uda.export.dicom_carried import anonymous_images, carried_images
from diffuse_uda.export.dicom_seg_check import require_same_in_patient_space
from diffuse_uda.export.dicom_source import ReferencedSeries
from diffuse_uda.export.structure_codes import SCHEME, Code, StructureCode, structure_code

MAKER = "Federated Diffuse-UDA"
_SERIES_NUMBER = 9000
"""Beyond the numbers that scanners give to theirs."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Algorithm:
    """Which model made a segmentation."""

    name: str
    """Method, as the study has it."""
    weights_sha256: str


def write_dicom_seg(
    folder: Path,
    label_map: Volume,
    series: ReferencedSeries,
    *,
    label_names: Sequence[str],
    algorithm: Algorithm,
    now: datetime,
    secret: bytes,
    anonymous: bool = False,
) -> Path:
    """Write the segmentation of a series and release it once it was read back.

    Args:
        folder: Where it goes, as `<its own UID>.dcm`: the name tells nothing about anybody.
        label_map: Classes on the series' own grid.
        series: What was segmented.
        label_names: Classes in the order of their values, background first.
        algorithm: Which model it was.
        now: Date and time of the object.
        secret: Random bytes for new UIDs.
        anonymous: Leave patient and study out; a PACS cannot file such an object, and a viewer finds no images to it.

    Returns:
        The written file.

    Raises:
        GeometryError: If label map and series do not share a grid.
        ReleaseError: If the file, read back, does not say what was meant; there is no file then.
    """
    require_same_grid(series.volume, label_map)
    images = anonymous_images(series, secret) if anonymous else carried_images(series)
    uid = str(generate_uid(entropy_srcs=[secret.hex(), "instance"]))
    segmentation = _built(images, label_map, label_names, algorithm, now, uid=uid, secret=secret)
    file = folder / f"{uid}.dcm"
    with replaced_atomically(file) as draft:
        segmentation.save_as(draft)
        require_same_in_patient_space(draft, label_map, images, num_structures=len(label_names) - 1)
    return file


def _built(
    images: Sequence[Dataset],
    label_map: Volume,
    label_names: Sequence[str],
    algorithm: Algorithm,
    now: datetime,
    *,
    uid: str,
    secret: bytes,
) -> Dataset:
    release = version("diffuse-uda")
    identification = hd.AlgorithmIdentificationSequence(
        name=f"{MAKER}: {algorithm.name}"[:64],
        family=codes.cid7162.ArtificialIntelligence,
        version=f"{release}, weights {algorithm.weights_sha256[:16]}",
        source=MAKER,
    )
    structures = [structure_code(name) for name in label_names[1:]]
    described = [
        _described(number, name, structure, identification)
        for number, (name, structure) in enumerate(zip(label_names[1:], structures, strict=True), start=1)
    ]
    own_scheme = CodingSchemeIdentificationItem(
        designator=SCHEME, name="Names of structures in Federated Diffuse-UDA models", version="1"
    )
    has_own = any(structure.structure.scheme == SCHEME for structure in structures)
    segmentation: Dataset = hd.seg.Segmentation(
        source_images=images,
        pixel_array=np.ascontiguousarray(label_map.voxels.transpose(2, 1, 0), dtype=np.uint8),
        segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=described,
        series_instance_uid=str(generate_uid(entropy_srcs=[secret.hex(), "series"])),
        series_number=_SERIES_NUMBER,
        sop_instance_uid=uid,
        instance_number=1,
        manufacturer=MAKER,
        manufacturer_model_name="diffuse-uda predict",
        software_versions=release,
        device_serial_number=algorithm.weights_sha256[:16],
        content_label="SEGMENTATION",
        content_description="Automatic segmentation; research use, not reviewed",
        # MONAI reads only objects that keep the empty frames as well; they cost a bit a voxel and structure.
        omit_empty_frames=False,
        coding_schemes=[own_scheme] if has_own else None,
        series_description="Diffuse-UDA segmentation (research use)",
        content_qualification=hd.ContentQualificationValues.RESEARCH,
        content_date=now.date(),
        content_time=now.time(),
        series_date=now.date(),
        series_time=now.time(),
    )
    # highdicom asks the clock by itself here
    segmentation.InstanceCreationDate, segmentation.InstanceCreationTime = now.date(), now.time()
    return segmentation


def _described(
    number: int, name: str, structure: StructureCode, identification: hd.AlgorithmIdentificationSequence
) -> hd.seg.SegmentDescription:
    segment = hd.seg.SegmentDescription(
        segment_number=number,
        segment_label=name[:64],
        segmented_property_category=_concept(structure.category),
        segmented_property_type=_concept(structure.structure),
        algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=identification,
    )
    if structure.side is not None:
        (kind,) = segment.SegmentedPropertyTypeCodeSequence
        kind.SegmentedPropertyTypeModifierCodeSequence = [_concept(structure.side)]
    return segment


def _concept(code: Code) -> hd.sr.CodedConcept:
    return hd.sr.CodedConcept(value=code.value, scheme_designator=code.scheme, meaning=code.meaning)
