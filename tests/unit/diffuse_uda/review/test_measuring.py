"""What a network says about its own answer."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from jaxtyping import Float
from torch import Tensor, nn

from diffuse_uda.config import PredictionConfig, StudyConfig
from diffuse_uda.data.volumes import load_volume
from diffuse_uda.review.measuring import MeasuredCase, measure
from diffuse_uda.review.scans import ReviewScan
from diffuse_uda.training import inference
from diffuse_uda.training.prediction import LoadedSegmenter, segment_volume
from tests.review_cases import NAMES, ellipsoid, write_scan, write_volume

CONFIG = StudyConfig.from_flat(
    {"grid.patch-size": "[16, 24, 16]", "grid.spacing-mm": "[2.0, 2.0, 2.5]", "compute.device": "cpu"}
)


class Threshold(nn.Module):
    """Calls dark voxels background, grey ones shell and bright ones core; `lean` pushes everything to one side."""

    def __init__(self, sharpness: float, *, lean: float = 0.0) -> None:
        super().__init__()
        self.sharpness = nn.Parameter(torch.tensor(sharpness))
        self.lean = lean

    def forward(self, images: Float[Tensor, "batch 1 i j k"]) -> Float[Tensor, "batch 3 i j k"]:
        across = torch.linspace(-self.lean, self.lean, images.shape[2]).view(1, 1, -1, 1, 1)
        levels = torch.tensor([0.0, 0.5, 1.0]).view(1, 3, 1, 1, 1)
        return -self.sharpness * (images + across - levels).abs()


def _segmenter(sharpness: float = 50.0, *, lean: float = 0.0) -> LoadedSegmenter:
    return LoadedSegmenter(model=Threshold(sharpness, lean=lean), config=CONFIG, label_names=NAMES)


@pytest.fixture
def scan(tmp_path: Path) -> ReviewScan:
    return ReviewScan(case_id="a", image=write_scan(tmp_path / "scans" / "a_0000.nii.gz", ellipsoid(0.9), 0))


def _measured(scan: ReviewScan, segmenter: LoadedSegmenter, tmp_path: Path, name: str = "report") -> MeasuredCase:
    for folder in ("predictions", "measures"):
        (tmp_path / name / folder).mkdir(parents=True, exist_ok=True)
    return measure(scan, 3, tmp_path / name, segmenter, model_sha256="ab")


def test_a_sure_network_is_sure_and_its_prediction_lies_on_the_disk(scan: ReviewScan, tmp_path: Path) -> None:
    case = _measured(scan, _segmenter(), tmp_path)
    prediction = load_volume(case.prediction)
    assert np.count_nonzero(prediction.voxels != ellipsoid(0.9)) < 0.02 * prediction.voxels.size
    assert case.prediction.stat().st_mode & 0o77 == 0
    core = case.structures[2]
    assert core.confidence is not None
    assert core.confidence > 0.95
    assert core.entropy is not None
    assert core.entropy < 0.1
    assert core.agreement is not None
    assert core.agreement > 0.8
    assert core.volume_ml == pytest.approx(0.01 * np.count_nonzero(prediction.voxels == 2))


def test_a_doubtful_network_has_more_entropy(scan: ReviewScan, tmp_path: Path) -> None:
    sure, doubtful = (
        _measured(scan, _segmenter(sharpness), tmp_path, str(sharpness)).structures[2] for sharpness in (50.0, 3.0)
    )
    assert sure.entropy is not None
    assert doubtful.entropy is not None
    assert doubtful.entropy > sure.entropy + 0.3


def test_a_network_that_sees_left_and_right_differently_disagrees_with_itself(scan: ReviewScan, tmp_path: Path) -> None:
    even, leaning = (
        _measured(scan, _segmenter(lean=lean), tmp_path, str(lean)).structures[1].agreement for lean in (0.0, 0.4)
    )
    assert even is not None
    assert leaning is not None
    assert leaning < even - 0.1


def test_a_segmentation_that_is_there_is_shown_and_compared(scan: ReviewScan, tmp_path: Path) -> None:
    own = _measured(scan, _segmenter(), tmp_path)
    shifted = write_volume(tmp_path / "found" / "a.nii.gz", np.roll(ellipsoid(0.9), 4, axis=0))
    given = _measured(replace(scan, prediction=shifted), _segmenter(), tmp_path)
    assert given.prediction == shifted
    before, after = own.structures[2].agreement, given.structures[2].agreement
    assert before is not None
    assert after is not None
    assert after < before
    assert given.structures[2].entropy == own.structures[2].entropy


def test_the_page_shows_what_predict_would_write(
    scan: ReviewScan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The scan's intensities have their word in both: here they say core everywhere."""
    everywhere = torch.eye(3)[2].view(3, 1, 1, 1)
    monkeypatch.setattr(
        inference, "sharpen_probabilities", lambda images, _answers, **_: [everywhere.expand(3, *images[0].shape[1:])]
    )
    config = CONFIG.model_copy(update={"prediction": PredictionConfig(mixture_share=0.9)})
    segmenter = replace(_segmenter(), config=config)
    shown = load_volume(_measured(scan, segmenter, tmp_path).prediction)
    np.testing.assert_array_equal(shown.voxels, segment_volume(segmenter, load_volume(scan.image)).voxels)
    assert set(np.unique(shown.voxels[5:-5, 5:-5, 5:-5])) == {2}
