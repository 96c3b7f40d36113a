"""What a site keeps between rounds."""

from pathlib import Path

import torch

from client.site_state import SiteState
from diffuse_uda.training.batches import Example


def test_only_the_last_global_models_are_remembered_oldest_first(tmp_path: Path) -> None:
    state = SiteState(tmp_path)
    for value in range(4):
        state.remember_global({"w": torch.tensor([float(value)])}, keep=2)
    assert [float(kept["w"]) for kept in state.recent_globals()] == [2.0, 3.0]


def test_nothing_is_forgotten_before_the_ensemble_is_full(tmp_path: Path) -> None:
    state = SiteState(tmp_path)
    for value in range(3):
        state.remember_global({"w": torch.tensor([float(value)])}, keep=5)
    assert [float(kept["w"]) for kept in state.recent_globals()] == [0.0, 1.0, 2.0]


def test_an_ensemble_of_one_remembers_nothing(tmp_path: Path) -> None:
    state = SiteState(tmp_path)
    state.remember_global({"w": torch.zeros(1)}, keep=0)
    assert state.recent_globals() == []


def test_examples_come_back_as_they_were_and_in_order(tmp_path: Path) -> None:
    state = SiteState(tmp_path)
    examples = [
        Example(image=torch.rand(1, 2, 2, 2), label_map=torch.ones(1, 2, 2, 2, dtype=torch.uint8), domain=1),
        Example(image=torch.rand(1, 2, 2, 2), voxel_weight=torch.rand(1, 2, 2, 2), domain=2),
    ]
    state.save_examples("pairs", examples)
    for kept, example in zip(state.load_examples("pairs"), examples, strict=True):
        assert kept.image.equal(example.image)
        assert kept.domain == example.domain
        assert (kept.label_map is None) == (example.label_map is None)
        assert (kept.voxel_weight is None) == (example.voxel_weight is None)


def test_nothing_kept_is_nothing_loaded(tmp_path: Path) -> None:
    state = SiteState(tmp_path)
    assert state.load_tensors("teacher") is None
    assert state.load_optimizer("adapt") is None
    assert state.load_examples("synthetic") == []


def test_an_optimisers_moments_come_back(tmp_path: Path) -> None:
    weight = torch.nn.Parameter(torch.ones(2))
    optimizer = torch.optim.AdamW([weight])
    weight.grad = torch.ones(2)
    optimizer.step()
    state = SiteState(tmp_path)
    state.save_optimizer("adapt", optimizer.state_dict())
    kept = state.load_optimizer("adapt")
    assert kept is not None
    assert kept["state"][0]["exp_avg"].equal(optimizer.state_dict()["state"][0]["exp_avg"])
