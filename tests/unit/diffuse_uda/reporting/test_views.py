from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from diffuse_uda.errors import GeometryError
from diffuse_uda.reporting.views import CaseView, PairView, worst_first

MakeCase = Callable[..., CaseView]


def test_a_label_map_of_another_grid_is_refused_with_its_name(make_case: MakeCase) -> None:
    case = make_case()
    with pytest.raises(GeometryError, match=r"'leeds', case 'case1': asc is \(2, 2, 2\) voxels"):
        replace(case, predictions={"asc": np.zeros((2, 2, 2))})
    with pytest.raises(GeometryError, match="reference"):
        replace(case, reference=np.zeros((2, 2, 2)))
    with pytest.raises(GeometryError, match="label map"):
        PairView(image=case.image, label_map=np.zeros((2, 2, 2)))


def test_the_worst_case_comes_first_and_unscored_ones_last(make_case: MakeCase) -> None:
    cases = [make_case("a", dice=None), make_case("b", dice=0.9), make_case("c", dice=0.1), make_case("d", dice=0.9)]
    assert [case.case_id for case in worst_first(cases)] == ["c", "b", "d", "a"]


def test_two_unscored_cases_are_sorted_by_name(make_case: MakeCase) -> None:
    cases = [make_case("b", dice=None), make_case("a", dice=None)]
    assert [case.case_id for case in worst_first(cases)] == ["a", "b"]


def test_a_case_without_an_adapted_row_has_no_headline(make_case: MakeCase) -> None:
    assert replace(make_case(), predictions={}).headline_dice is None
