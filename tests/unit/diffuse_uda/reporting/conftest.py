"""A small study with round numbers: one source, two targets, two structures, a scan of 12 x 14 x 10 voxels."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pytest

from diffuse_uda.algorithms.metrics import StructureScore, StructureStatus
from diffuse_uda.data.volumes import Volume
from diffuse_uda.reporting.history_view import RoundRecord, SiteRecord, exchange_by_phase
from diffuse_uda.reporting.page import PolicyListing, ReportInputs
from diffuse_uda.reporting.results import Results, build_results
from diffuse_uda.reporting.scores import CaseScores, SiteScores
from diffuse_uda.reporting.study_comparisons import Statistics
from diffuse_uda.reporting.study_cost import RowCost
from diffuse_uda.reporting.study_results import build_study_results
from diffuse_uda.reporting.study_runs import OracleChoice, StudyRun
from diffuse_uda.reporting.views import CaseView, PairsOfTarget, PairView
from diffuse_uda.types import SiteRole

LABEL_NAMES = ("background", "shell", "core")

MakeSites = Callable[[Mapping[str, Mapping[str, float]]], list[SiteScores]]


def _case(case_id: str, dice: float) -> CaseScores:
    score = StructureScore(dice=dice, hd95_mm=10 - 10 * dice, assd_mm=1.0, nsd=dice, status=StructureStatus.OK)
    return CaseScores(case_id=case_id, scores={"shell": score, "core": score})


def _make_sites(dice: Mapping[str, Mapping[str, float]]) -> list[SiteScores]:
    rows = {
        site_id: {row: [_case("case1", value), _case("case2", value)] for row, value in by_row.items()}
        for site_id, by_row in dice.items()
    }
    source = SiteScores(
        site_id="york",
        role=SiteRole.SOURCE,
        num_train=8,
        num_test=2,
        rows={"source-only": [_case("home", 0.9)]},
    )
    return [
        source,
        *(
            SiteScores(site_id=site_id, role=SiteRole.TARGET, num_train=5, num_test=2, rows=by_row)
            for site_id, by_row in rows.items()
        ),
    ]


@pytest.fixture
def make_sites() -> MakeSites:
    """Build sites from one Dice by target and row; every case and structure has that Dice."""
    return _make_sites


@pytest.fixture
def history() -> list[RoundRecord]:
    """Two rounds of adaptation and one of evaluation."""
    sites = {
        name: SiteRecord(state="used", num_examples=5, metrics={"loss": 0.5}, to_site_bytes=1000, to_server_bytes=900)
        for name in ("york", "leeds")
    }
    quiet = {"leeds": SiteRecord(state="used", to_site_bytes=1000, to_server_bytes=20)}
    return [
        RoundRecord(phase="adapt", server_round=1, num_tensors=7, seconds=1.5, sites=sites),
        RoundRecord(phase="adapt", server_round=2, num_tensors=7, seconds=2.5, sites=sites),
        RoundRecord(phase="evaluate-asc-plus", server_round=1, num_tensors=7, seconds=0.25, sites=quiet),
    ]


@pytest.fixture
def results(history: list[RoundRecord]) -> Results:
    """Source-only 0.4 and 0.2, Diffuse-UDA 0.6 and 0.5, target-supervised 0.8 at both targets."""
    rows = {
        "leeds": {"source-only": 0.4, "asc-plus": 0.5, "diffuse-uda": 0.6, "target-supervised": 0.8},
        "hull": {"source-only": 0.2, "asc-plus": 0.4, "diffuse-uda": 0.5, "target-supervised": 0.8},
    }
    measured = {
        "timing": {"federation": 75.0, "phases": {"adapt": 4.0, "long": 3720.0}},
        "environment": {"torch": "2.12", "gpu": None},
    }
    return build_results(_make_sites(rows), seeds=[3], exchange=exchange_by_phase(history), measured=measured)


MakeRun = Callable[..., StudyRun]


def _make_run(seed: int, dice: Mapping[str, Mapping[str, Sequence[float]]]) -> StudyRun:
    sites = [
        SiteScores(
            site_id=site_id,
            role=SiteRole.TARGET,
            num_train=5,
            num_test=max(map(len, by_row.values()), default=0),
            rows={
                row: [_case(f"{site_id}-{index}", value) for index, value in enumerate(values)]
                for row, values in by_row.items()
            },
        )
        for site_id, by_row in dice.items()
    ]
    source = SiteScores(site_id="york", role=SiteRole.SOURCE, num_train=8, num_test=0)
    rows = dict.fromkeys(row for by_row in dice.values() for row in by_row)
    return StudyRun(
        seed=seed,
        sites=[source, *sites],
        costs={row: RowCost(to_sites_bytes=2_000_000, rounds=3, seconds=60.0 + seed) for row in rows},
        oracle={
            "diffuse-uda": {
                site_id: OracleChoice(dice=0.5, oracle_dice=0.5 + 0.02 * seed, oracle_round=2 + seed)
                for site_id in dice
            }
        }
        if "diffuse-uda" in rows
        else {},
        environment={"commit": f"abc{seed}"},
    )


@pytest.fixture
def make_run() -> MakeRun:
    """Build a run from its seed and the Dice of every patient by target and row; both structures have that Dice."""
    return _make_run


@pytest.fixture
def study() -> Results:
    """Two seeds, two targets, 3 patients each; the second seed is 0.02 better everywhere.

    Source-only 0.4 and 0.2, ASC+ 0.5 and 0.4, Diffuse-UDA 0.6 and 0.5, target-supervised 0.8 (seed 0, in the mean).
    """
    levels = {
        "leeds": {
            "source-only": 0.4,
            "asc-plus": 0.5,
            "diffuse-uda": 0.6,
            "diffuse-uda-centralised": 0.62,
            "target-supervised": 0.8,
            "diffuse-uda--no-fda": 0.55,
        },
        "hull": {
            "source-only": 0.2,
            "asc-plus": 0.4,
            "diffuse-uda": 0.5,
            "diffuse-uda-centralised": 0.5,
            "target-supervised": 0.8,
            "diffuse-uda--no-fda": 0.45,
        },
    }
    runs = [
        _make_run(
            seed,
            {
                site_id: {
                    row: [level + 0.02 * seed + shift for shift in (-0.1, 0.0, 0.1)] for row, level in by_row.items()
                }
                for site_id, by_row in levels.items()
            },
        )
        for seed in (0, 1)
    ]
    environment = {"command": "python -m simulations study", "commit": "abc", "gpu": None}
    return build_study_results(runs, part="test", environment=environment, statistics=Statistics(num_resamples=200))


def _phantom() -> tuple[Volume, np.ndarray]:
    i, j, k = np.meshgrid(np.linspace(-1, 1, 12), np.linspace(-1, 1, 14), np.linspace(-1, 1, 10), indexing="ij")
    radius = np.sqrt(i**2 + j**2 + k**2)
    label_map = (radius < 0.8).astype(np.uint8) + (radius < 0.4)
    noise = np.random.default_rng(0).normal(scale=0.05, size=radius.shape)
    return Volume(voxels=label_map + noise, affine_mm=np.diag([4.0, 4.0, 4.0, 1.0])), label_map


@pytest.fixture
def make_case() -> Callable[..., CaseView]:
    """Build a case of the ellipsoid phantom."""
    image, label_map = _phantom()

    def make(case_id: str = "case1", site_id: str = "leeds", dice: float | None = 0.5) -> CaseView:
        predictions = {"source-only": np.roll(label_map, 3, axis=0), "diffuse-uda": np.roll(label_map, 1, axis=0)}
        return CaseView(
            site_id=site_id,
            case_id=case_id,
            image=image,
            reference=label_map,
            predictions=predictions,
            dice={"source-only": 0.25, "diffuse-uda": dice},
        )

    return make


@pytest.fixture
def pair() -> PairView:
    image, label_map = _phantom()
    return PairView(image=image, label_map=label_map)


@pytest.fixture
def report_inputs(
    results: Results, history: list[RoundRecord], make_case: Callable[..., CaseView], pair: PairView
) -> ReportInputs:
    """Everything a page can show, once."""
    scan = PairView(image=pair.image, label_map=None)
    return ReportInputs(
        title="a study",
        results=results,
        label_names=LABEL_NAMES,
        config={"seed": 3, "adapt.num-rounds": 2},
        history=history,
        policy=PolicyListing(tensors={"segmenter": ["stem.weight", "head.bias"]}, scalars=["loss", "dice"]),
        cases=[make_case("good", dice=0.7), make_case("bad", dice=0.3)],
        pairs=[PairsOfTarget(site_id="leeds", real=(scan,), synthetic=(pair,))],
    )
