"""Laws of the moving averages of weights."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from diffuse_uda.algorithms.ema import ema_decay, ema_warm_up_decay, update_ema_


class Tied(nn.Module):
    """Two layers that share one weight."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.first = nn.Linear(1, 1, bias=False)
        self.second = nn.Linear(1, 1, bias=False)
        self.second.weight = self.first.weight
        nn.init.constant_(self.first.weight, value)


def batch_norm(weight: float, running_mean: float, num_batches: int) -> nn.BatchNorm1d:
    """A layer with a parameter, a floating buffer and an integer buffer."""
    layer = nn.BatchNorm1d(1)
    nn.init.constant_(layer.weight, weight)
    layer.load_state_dict(
        layer.state_dict()
        | {"running_mean": torch.tensor([running_mean]), "num_batches_tracked": torch.tensor(num_batches)}
    )
    return layer


@pytest.mark.parametrize(("step", "decay"), [(0, 0.0), (1, 0.5), (9, 0.9), (99, 0.99), (10_000, 0.99)])
def test_the_teacher_starts_as_a_copy_and_ends_at_its_decay(step: int, decay: float) -> None:
    assert ema_decay(step) == pytest.approx(decay)


def test_before_its_maximum_the_teacher_is_the_plain_mean_of_all_students() -> None:
    teacher = {"w": torch.tensor([100.0])}
    for step, value in enumerate([1.0, 2.0, 6.0]):
        update_ema_(teacher, {"w": torch.tensor([value])}, ema_decay(step))
    assert teacher["w"].item() == pytest.approx(3.0)


@pytest.mark.parametrize(("step", "decay"), [(0, 0.1), (80, 0.9), (890, 0.99), (100_000, 0.995)])
def test_the_average_of_the_denoiser_warms_up(step: int, decay: float) -> None:
    assert ema_warm_up_decay(step, 0.995) == pytest.approx(decay)


def test_parameters_are_averaged_in_place() -> None:
    teacher, student = nn.Linear(1, 1), nn.Linear(1, 1)
    nn.init.constant_(teacher.weight, 1.0)
    nn.init.constant_(student.weight, 5.0)
    weight = teacher.weight
    update_ema_(teacher, student, 0.75)
    assert teacher.weight is weight
    assert (teacher.weight.item(), student.weight.item()) == (2.0, 5.0)
    assert teacher.weight.requires_grad
    assert teacher.weight.grad_fn is None


def test_buffers_of_a_module_are_copied() -> None:
    teacher, student = batch_norm(1.0, 0.0, 3), batch_norm(3.0, 8.0, 7)
    update_ema_(teacher, student, 0.5)
    assert teacher.weight.item() == 2.0
    assert teacher.running_mean is not None
    assert teacher.running_mean.item() == 8.0
    assert teacher.num_batches_tracked is not None
    assert teacher.num_batches_tracked.item() == 7


def test_a_module_can_follow_a_state_dict_and_the_reverse() -> None:
    module, weights = batch_norm(1.0, 0.0, 3), batch_norm(3.0, 8.0, 7).state_dict()
    update_ema_(module, weights, 0.5)
    assert (module.weight.item(), module.state_dict()["running_mean"].item()) == (2.0, 8.0)
    update_ema_(weights, module, 0.5)
    assert weights["weight"].item() == 2.5


def test_integers_of_a_state_dict_are_copied_and_floats_averaged() -> None:
    teacher = {"w": torch.tensor([1.0]), "n": torch.tensor(3)}
    update_ema_(teacher, {"w": torch.tensor([3.0]), "n": torch.tensor(8)}, 0.5)
    assert (teacher["w"].item(), teacher["n"].item()) == (2.0, 8)


def test_a_student_in_half_precision_moves_a_teacher_in_single() -> None:
    teacher = {"w": torch.tensor([1.0])}
    update_ema_(teacher, {"w": torch.tensor([2.0], dtype=torch.bfloat16)}, 0.99)
    assert teacher["w"].dtype == torch.float32
    assert teacher["w"].item() == pytest.approx(1.01)


def test_a_shared_weight_is_averaged_once() -> None:
    teacher, student = Tied(0.0), Tied(8.0)
    update_ema_(teacher, student, 0.5)
    assert teacher.first.weight.item() == 4.0


@pytest.mark.parametrize(
    ("student", "message"),
    [
        ({"v": torch.zeros(2)}, r"\['v', 'w'\] are in one of them only"),
        ({"w": torch.zeros(1)}, r"w is \(2,\) in the teacher, \(1,\) in the student"),
    ],
)
def test_another_model_is_refused_and_the_teacher_left_alone(student: dict[str, Tensor], message: str) -> None:
    teacher = {"w": torch.ones(2)}
    with pytest.raises(ValueError, match=message):
        update_ema_(teacher, student, 0.5)
    assert teacher["w"].tolist() == [1.0, 1.0]


def test_impossible_steps_and_decays_are_refused() -> None:
    with pytest.raises(ValueError, match="step must be 0 or more, got -1"):
        ema_decay(-1)
    with pytest.raises(ValueError, match=r"decay must be in \[0, 1\], got 1.5"):
        ema_warm_up_decay(3, 1.5)
    with pytest.raises(ValueError, match=r"decay must be in \[0, 1\], got -0.5"):
        update_ema_({}, {}, -0.5)
