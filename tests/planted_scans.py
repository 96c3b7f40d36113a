"""Ways for a hospital's folder to be broken; every file in it bears a patient's name."""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np

from tests.planted import PATIENT, STEM


def _image(root: Path) -> Path:
    return min((root / "imagesTr").iterdir())


def _rewrite(path: Path, change: Callable[[np.ndarray], np.ndarray], affine: np.ndarray | None = None) -> None:
    image = nib.load(path)
    voxels = change(np.asarray(image.dataobj).copy())
    changed = nib.Nifti1Image(voxels, image.affine if affine is None else affine)
    changed.header["descrip"] = PATIENT.encode()
    nib.save(changed, path)


def _filled(value: float) -> Callable[[Path], object]:
    return lambda root: _rewrite(_image(root), lambda voxels: np.full(voxels.shape, value, np.float32))


def _bytes(change: Callable[[bytes], bytes]) -> Callable[[Path], object]:
    return lambda root: _image(root).write_bytes(change(_image(root).read_bytes()))


def _header(offset: int, value: bytes) -> Callable[[Path], object]:
    def change(data: bytes) -> bytes:
        plain = bytearray(gzip.decompress(data))
        plain[offset : offset + len(value)] = value
        return gzip.compress(bytes(plain))

    return _bytes(change)


def _described(change: Callable[[dict[str, object]], object]) -> Callable[[Path], object]:
    def spoil(root: Path) -> None:
        said = json.loads((root / "dataset.json").read_text(encoding="utf-8"))
        change(said)
        (root / "dataset.json").write_text(json.dumps(said), encoding="utf-8")

    return spoil


def _replaced_by_folder(root: Path) -> None:
    image = _image(root)
    image.unlink()
    image.mkdir()


def _replaced_by_file(root: Path) -> None:
    shutil.rmtree(root)
    root.write_text(PATIENT)


def _dangling(root: Path) -> None:
    image = _image(root)
    image.unlink()
    image.symlink_to(root / f"{STEM}Nowhere.nii.gz")


SPOILT: dict[str, Callable[[Path], object]] = {
    "no folder": shutil.rmtree,
    "a file instead of the folder": _replaced_by_file,
    "no images": lambda root: shutil.rmtree(root / "imagesTr"),
    "no description": lambda root: (root / "dataset.json").unlink(),
    "description is no JSON": lambda root: (root / "dataset.json").write_text(PATIENT),
    "description is a list": lambda root: (root / "dataset.json").write_text(json.dumps([PATIENT])),
    "classes are a text": _described(lambda said: said.update(labels=PATIENT)),
    "a class of that name": _described(lambda said: said.update(labels={"background": 0, f"{PATIENT};": 1})),
    "a class is no number": _described(lambda said: said.update(labels={"background": 0, "lesion": PATIENT})),
    "another ending": _described(lambda said: said.update(file_ending=f".{PATIENT}")),
    "a test case that is not there": _described(lambda said: said.update(evaluation={"test": [PATIENT]})),
    "two channels": _described(lambda said: said.update(channel_names={"0": "T1", "1": PATIENT})),
    "empty file": _bytes(lambda _data: b""),
    "half a file": _bytes(lambda data: data[: len(data) // 2]),
    "a text": _bytes(lambda _data: PATIENT.encode() * 99),
    "a compressed text": _bytes(lambda _data: gzip.compress(PATIENT.encode() * 99)),
    "flipped bits": _bytes(lambda data: data[:600] + bytes(255 - byte for byte in data[600:700]) + data[700:]),
    "a folder instead of a file": _replaced_by_folder,
    "a link to nowhere": _dangling,
    "no magic word": _header(344, b"\0\0\0\0"),
    "a huge dimension": _header(42, b"\xff\x7f"),
    "a negative dimension": _header(42, b"\xff\xff"),
    "an unknown type of voxels": _header(70, b"\xe7\x03"),
    "NaN": _filled(float("nan")),
    "infinity": _filled(float("inf")),
    "one value everywhere": _filled(7.0),
    "four axes": lambda root: _rewrite(_image(root), lambda voxels: np.stack([voxels, voxels], axis=-1)),
    "two axes": lambda root: _rewrite(_image(root), lambda voxels: voxels[:, :, 0]),
    "no volume": lambda root: _rewrite(_image(root), lambda voxels: voxels, np.zeros((4, 4))),
    "complex voxels": lambda root: _rewrite(_image(root), lambda voxels: voxels.astype(np.complex64)),
    "a stranger's file": lambda root: (root / "imagesTr" / f"{STEM}.dcm").write_text(PATIENT),
    "a name with a line break": lambda root: _image(root).rename(root / "imagesTr" / f"{STEM}\n_0000.nii.gz"),
}
"""Thirty-two broken folders."""
