"""One round of work at one site, on scans of sixteen voxels."""

import dataclasses
import logging
import shutil
from pathlib import Path

import pytest
import torch

from client import segmentation_losses, segmentation_tasks, workplace
from client.cases import training_cases
from client.site import Site
from client.site_batches import labelled_batch
from client.site_state import SiteState
from client.tasks import introduce, run_task
from client.workplace import Workplace
from diffuse_uda.errors import InputError
from diffuse_uda.methods.phase import Task
from diffuse_uda.training.batches import Batch, Example
from diffuse_uda.training.steps import source_loss
from diffuse_uda.types import ModelName, Scalar
from tests.tiny_site import LABEL_NAMES, first_weights, order_for, tiny_config, tiny_site

MEAN_BLOCK: dict[str, Scalar] = {"exchange.allow-style-blocks": True, "style.provider": "mean-block"}


@pytest.mark.parametrize("task", [Task.WARM_UP, Task.ADAPT_SOURCE])
def test_a_sources_round_moves_the_weights_and_reports_its_loss(source: Site, task: Task) -> None:
    config = tiny_config()
    weights = first_weights(config)
    reply = run_task(source, config, order_for(task, phase=task.value), weights)
    assert reply.weights is not None
    assert reply.weights.keys() == weights.keys()
    assert any(not reply.weights[name].equal(weights[name]) for name in weights)
    assert reply.num_examples == 2
    assert reply.metrics["loss"] > 0
    assert reply.metrics["seconds"] > 0


def test_equal_orders_give_equal_weights_on_a_fresh_site_and_another_round_does_not(
    cohort: list[Path], tmp_path: Path
) -> None:
    config = tiny_config()
    replies = [
        run_task(
            tiny_site(cohort[0], "source", tmp_path / place),
            config,
            order_for(Task.ADAPT_SOURCE),
            first_weights(config),
        )
        for place in ("one", "two")
    ]
    later = order_for(Task.ADAPT_SOURCE, server_round=2)
    other = run_task(tiny_site(cohort[0], "source", tmp_path / "three"), config, later, first_weights(config))
    first, second, third = (reply.weights for reply in (*replies, other))
    assert first is not None
    assert second is not None
    assert third is not None
    assert all(first[name].equal(second[name]) for name in first)
    assert any(not first[name].equal(third[name]) for name in first)


def test_a_target_keeps_its_teacher_and_the_models_for_its_ensemble(target: Site) -> None:
    config = tiny_config()
    for server_round in (1, 2):
        run_task(target, config, order_for(Task.ADAPT_TARGET, server_round=server_round), first_weights(config))
    state = SiteState(target.workspace / "state")
    assert state.load_tensors("teacher") is not None
    assert len(state.recent_globals()) == 2


def test_a_style_block_is_part_of_the_card_only_if_study_and_site_both_allow_it(source: Site) -> None:
    open_study = tiny_config(MEAN_BLOCK)
    willing = dataclasses.replace(source, allow_style_blocks=True)
    assert introduce(willing, open_study).style_block is not None
    assert introduce(source, open_study).style_block is None
    assert introduce(willing, tiny_config()).style_block is None


def test_published_blocks_and_synthetic_looks_are_used_for_alignment(source: Site, target: Site) -> None:
    blocks = tiny_config(MEAN_BLOCK)
    block = introduce(dataclasses.replace(source, allow_style_blocks=True), blocks).style_block
    assert block is not None
    order = dataclasses.replace(order_for(Task.ADAPT_TARGET), style_blocks={"source": block})
    with_block = run_task(target, blocks, order, first_weights(blocks)).weights
    mined = tiny_config({"style.provider": "synthetic"})
    run_task(target, mined, order_for(Task.PSEUDO_LABEL, phase="pseudo-label"), first_weights(mined))
    run_task(target, mined, order_for(Task.SYNTHESISE, phase="synthesise"), first_weights(mined, ModelName.DENOISER))
    assert {look.domain for look in SiteState(target.workspace / "state").load_examples("looks")} == {0}
    with_looks = run_task(target, mined, order_for(Task.ADAPT_TARGET), first_weights(mined)).weights
    assert with_block is not None
    assert with_looks is not None
    assert any(not with_block[name].equal(with_looks[name]) for name in with_block)


def test_plain_asc_neither_adapts_its_window_nor_augments(target: Site, source: Site) -> None:
    config = tiny_config({"method": "asc", "adapt.cut-mix": False})
    assert run_task(source, config, order_for(Task.ADAPT_SOURCE), first_weights(config)).weights is not None
    assert run_task(target, config, order_for(Task.ADAPT_TARGET), first_weights(config)).weights is not None


def test_a_broken_folder_is_refused_at_the_sites_own_gate(cohort: list[Path], tmp_path: Path) -> None:
    with pytest.raises(InputError):
        introduce(tiny_site(tmp_path / "nowhere", "target", tmp_path), tiny_config())


def test_whoever_reads_label_maps_names_its_classes(source: Site, target: Site, tmp_path: Path) -> None:
    """The coordinator refuses a target that would score its scans under another order of labels."""
    assert introduce(source, tiny_config()).label_names == LABEL_NAMES
    assert introduce(target, tiny_config()).label_names == LABEL_NAMES
    blind = shutil.copytree(target.data_dir, tmp_path / "blind")
    shutil.rmtree(blind / "labelsTs")
    card = introduce(dataclasses.replace(target, data_dir=blind), tiny_config())
    assert (card.label_names, card.num_test_cases) == ((), 0)


def test_a_batch_that_does_not_fit_a_gpu_is_made_smaller_and_said(
    source: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    work = workplace.open_workplace(source, tiny_config(), order_for(Task.WARM_UP))
    on_gpu = dataclasses.replace(work, device=torch.device("cuda"))
    monkeypatch.setattr(workplace, "largest_batch", lambda *_args, **_named: 2)
    with caplog.at_level(logging.WARNING):
        assert on_gpu.batch_size(ModelName.SEGMENTER, 2, volumes_per_example=2) == 1
    assert "1 instead of 2" in caplog.text


def test_the_teacher_s_decay_counts_the_steps_of_the_phase(target: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    # Counted anew in every round it would start at 0, which makes the teacher a copy of the student.
    counted: list[int] = []

    def decay(step: int, _largest: float) -> float:
        counted.append(step)
        return 0.5

    monkeypatch.setattr(segmentation_tasks, "ema_decay", decay)
    config = tiny_config({"adapt.num-local-steps": 2, "adapt.target-step-fraction": 1.0})
    for server_round in (1, 2):
        run_task(target, config, order_for(Task.ADAPT_TARGET, server_round=server_round), first_weights(config))
    assert counted == [0, 1, 2, 3]


@pytest.mark.parametrize(("provider", "is_same"), [("off", True), ("none", False)])
def test_without_a_style_provider_the_source_adapts_on_its_scans_as_they_are(
    source: Site, monkeypatch: pytest.MonkeyPatch, provider: str, *, is_same: bool
) -> None:
    seen = []

    def loss(
        student: torch.nn.Module, images: torch.Tensor, aligned: torch.Tensor, label_map: torch.Tensor
    ) -> torch.Tensor:
        seen.append(images.equal(aligned))
        return source_loss(student, images, aligned, label_map)

    monkeypatch.setattr(segmentation_losses, "source_loss", loss)
    config = tiny_config({"method": "asc", "style.provider": provider})
    run_task(source, config, order_for(Task.ADAPT_SOURCE), first_weights(config))
    assert set(seen) == {is_same}


def test_a_known_look_is_added_to_random_ones_and_replaces_none(source: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    scans, terms = [], []

    def batch_of(work: Workplace, examples: list[Example], size: int, draw: torch.Generator) -> Batch:
        scans.append(labelled_batch(work, examples, size, draw))
        return scans[-1]

    def loss(
        student: torch.nn.Module, images: torch.Tensor, aligned: torch.Tensor, label_map: torch.Tensor
    ) -> torch.Tensor:
        terms.append((images, aligned))
        return source_loss(student, images, aligned, label_map)

    monkeypatch.setattr(segmentation_losses, "PLAIN_SHARE", 0.0)
    monkeypatch.setattr(segmentation_losses, "labelled_batch", batch_of)
    monkeypatch.setattr(segmentation_losses, "source_loss", loss)
    config = tiny_config(MEAN_BLOCK | {"method": "asc"})
    block = introduce(dataclasses.replace(source, allow_style_blocks=True), config).style_block
    assert block is not None
    order = dataclasses.replace(order_for(Task.ADAPT_SOURCE), style_blocks={"source": block, "target": block})
    run_task(source, config, order, first_weights(config))
    for scan, (images, aligned) in zip(scans, terms, strict=True):
        # a site's own mean amplitudes change a scan of its own a little, a random contrast a lot
        assert float((aligned - scan.images).abs().mean()) < 0.5 * float((images - scan.images).abs().mean())


def test_a_target_never_reads_training_labels_even_if_they_lie_in_its_folder(
    cohort: list[Path], tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(cohort[1], tmp_path / "labelled"))
    shutil.copytree(folder / "oracle" / "labelsTr", folder / "labelsTr")
    seen = {}
    for role in ("target", "source"):
        site = tiny_site(folder, role, tmp_path)
        cases = training_cases(site, tiny_config().grid, SiteState(site.workspace / "state"))
        seen[role] = [case.label_map is not None for case in cases]
    assert seen == {"target": [False, False], "source": [True, True]}


def test_a_new_run_forgets_the_teacher_and_models_of_an_earlier_one_but_not_prepared_cases(target: Site) -> None:
    run_task(target, tiny_config(), order_for(Task.ADAPT_TARGET), first_weights(tiny_config()))
    introduce(target, tiny_config())
    state = SiteState(target.workspace / "state")
    assert state.load_tensors("teacher") is None
    assert state.recent_globals() == []
    assert state.load_optimizer("adapt") is None
    assert len(list(state.folder.glob("cases-train-*"))) == 1


def test_random_looks_change_the_warm_up_and_a_share_of_zero_draws_nothing_for_them(
    cohort: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain_shares = []

    def randomised(volumes: torch.Tensor, *_: object, plain_share: float, num_classes: int) -> torch.Tensor:
        plain_shares.append(plain_share)
        assert num_classes == 7
        return 1.0 - volumes

    monkeypatch.setattr(segmentation_losses, "randomised", randomised)
    weights = []
    for share in (0.0, 0.75):
        config = tiny_config({"warm-up.random-look-share": share})
        site = tiny_site(cohort[0], "source", tmp_path / str(share))
        weights.append(run_task(site, config, order_for(Task.WARM_UP, phase="warm-up"), first_weights(config)).weights)
    assert plain_shares == [0.25, 0.25]  # two steps
    plain, random = weights
    assert plain is not None
    assert random is not None
    assert any(not plain[name].equal(random[name]) for name in plain)
