"""One step of self-ensembling: which looks are compared, and that the teacher is only asked."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from diffuse_uda.algorithms.self_ensembling import inter_domain_consistency
from diffuse_uda.config import SegmenterConfig
from diffuse_uda.models.critics import CriticisedSegmenter
from diffuse_uda.models.segmenter import build_segmenter
from diffuse_uda.training.ensembling import ensembling_terms

CONFIG = SegmenterConfig(channels=(4, 8, 16, 16))
LOOKS = torch.rand((3, 2, 1, 32, 32, 32), generator=torch.Generator().manual_seed(0)).unbind()


def networks(*, has_critics: bool = True) -> tuple[nn.Module, nn.Module]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        student: nn.Module = build_segmenter(CONFIG, 3)
        if has_critics:
            student = CriticisedSegmenter(student, CONFIG)
    return student, copy.deepcopy(student).eval()


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(1)


def test_every_source_like_look_is_compared_with_every_target_like_one() -> None:
    student, teacher = networks()
    own, across, back = LOOKS
    with torch.no_grad():
        answers = {name: student(look).softmax(dim=1) for name, look in (("s", own), ("t", across), ("c", back))}
    at_source = ensembling_terms(student, teacher, [own, back], [across], generator())
    wanted = [inter_domain_consistency(answers[name], answers["t"]) for name in "sc"]
    torch.testing.assert_close(at_source.inter, torch.stack(wanted).mean())
    at_target = ensembling_terms(student, teacher, [across], [own, back], generator())
    wanted = [inter_domain_consistency(answers["t"], answers[name]) for name in "sc"]
    torch.testing.assert_close(at_target.inter, torch.stack(wanted).mean())
    assert [len(terms.logits) for terms in (at_source, at_target)] == [2, 1]
    torch.testing.assert_close(at_source.logits[1].softmax(dim=1), answers["c"])


def test_both_ways_are_the_mean_of_one_and_the_other() -> None:
    student, teacher = networks()
    own, across, back = LOOKS
    draw = generator()
    there = ensembling_terms(student, teacher, [own, back], [across], draw)
    other = ensembling_terms(student, teacher, [across], [own, back], draw)
    both = ensembling_terms(student, teacher, [own, back], [across], generator(), both_ways=True)
    for name in ("intra", "inter", "fooling", "critics"):
        torch.testing.assert_close(getattr(both, name), (getattr(there, name) + getattr(other, name)) / 2)
    assert len(both.logits) == 3
    torch.testing.assert_close(both.logits[2], other.logits[0])


def test_the_noise_is_all_that_tells_a_fresh_student_from_its_teacher(monkeypatch: pytest.MonkeyPatch) -> None:
    student, teacher = networks()
    assert float(ensembling_terms(student, teacher, [LOOKS[0]], [LOOKS[1]], generator()).intra.detach()) > 0.0
    monkeypatch.setattr("diffuse_uda.training.ensembling.teacher_noise", lambda volumes, _generator: volumes)
    assert float(ensembling_terms(student, teacher, [LOOKS[0]], [LOOKS[1]], generator()).intra.detach()) < 1e-10


def test_the_terms_teach_the_student_and_leave_the_teacher() -> None:
    student, teacher = networks()
    terms = ensembling_terms(student, teacher, [LOOKS[0]], [LOOKS[1]], generator())
    (terms.intra + terms.inter + terms.fooling + terms.critics).backward()  # type: ignore[no-untyped-call]
    # of the segmenter the finest block has no say in the features, but in the answers
    assert all(weight.grad is not None for name, weight in student.named_parameters() if "segmenter" not in name)
    assert all(weight.grad is None for weight in teacher.parameters())


def test_fooling_moves_the_student_alone_and_the_critics_loss_the_critics_alone() -> None:
    for term, moved in (("fooling", "segmenter"), ("critics", "int")):
        student, teacher = networks()
        terms = ensembling_terms(student, teacher, [LOOKS[0]], [LOOKS[1]], generator())
        getattr(terms, term).backward()
        assert all(name.startswith(moved) for name, weight in student.named_parameters() if weight.grad is not None)


def test_without_critics_the_adversarial_terms_are_zero() -> None:
    student, teacher = networks(has_critics=False)
    terms = ensembling_terms(student, teacher, [LOOKS[0]], [LOOKS[1]], generator())
    assert (float(terms.fooling), float(terms.critics)) == (0.0, 0.0)
    assert float(terms.inter.detach()) > 0.0
