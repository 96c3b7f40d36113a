from pathlib import Path

import pytest

from diffuse_uda.data.formats.contract import ListedCase, Listing, NiftiFile, Part
from diffuse_uda.data.preparation.centre import CentreWish, classes_by, plan_centre, pseudonyms
from diffuse_uda.data.preparation.plan import CentrePlan, Classes, PlannedCase, PreparationPlan, checked_plan
from diffuse_uda.data.preparation.splits import HeldOut, drawn_parts, shuffled
from diffuse_uda.errors import ConfigError, InputError
from diffuse_uda.types import SiteRole

FILE = NiftiFile(path=Path("x.nii.gz"))
CLASSES = Classes(names=("heart",), class_of={0: 0, 1: 1})


def _case(name: str, patient: str | None = None, *, is_labelled: bool = True, part: Part | None = None) -> ListedCase:
    return ListedCase(
        case_id=name,
        patient=patient or name,
        place=Path(name),
        image=FILE,
        label_map=FILE if is_labelled else None,
        part=part,
    )


def _plan(*centres: tuple[str, list[tuple[ListedCase, Part]]], classes: Classes = CLASSES) -> PreparationPlan:
    return PreparationPlan(
        layout="x",
        split="x",
        centres=tuple(
            CentrePlan(
                name=name,
                channel_name="CT",
                classes=classes,
                cases=tuple(PlannedCase(case_id=case.case_id, listed=case, part=part) for case, part in cases),
            )
            for name, cases in centres
        ),
        case_names_are_private=False,
    )


def test_the_order_depends_on_seed_and_names_alone() -> None:
    names = [f"p{number}" for number in range(20)]

    assert shuffled(names, seed=0) == shuffled(reversed(names), seed=0)
    assert shuffled(names, seed=0) != shuffled(names, seed=1)
    assert shuffled(names, seed=0) != names
    without = [name for name in shuffled(names, seed=0) if name != "p7"]
    assert shuffled([name for name in names if name != "p7"], seed=0) == without


def test_all_scans_of_a_person_get_into_one_part() -> None:
    cases = [_case(f"s{number}", patient=f"p{number // 2}") for number in range(10)]
    parts = drawn_parts(cases, HeldOut(num_development=1, num_test=2), seed=0)

    of_person = [{parts[f"s{2 * person}"], parts[f"s{2 * person + 1}"]} for person in range(5)]
    assert all(len(several) == 1 for several in of_person)
    counts = [sum(part in several for several in of_person) for part in ("train", "development", "test")]
    assert counts == [2, 1, 2]


def test_nobody_without_a_label_map_is_tested_on() -> None:
    cases = [_case(f"s{number}", is_labelled=number < 3) for number in range(6)]
    parts = drawn_parts(cases, HeldOut(num_test=3), seed=0)

    assert parts == {"s0": "test", "s1": "test", "s2": "test", "s3": "train", "s4": "train", "s5": "train"}
    with pytest.raises(ConfigError, match="3 with label maps"):
        drawn_parts(cases, HeldOut(num_test=4), seed=0)


def test_somebody_is_left_to_train_with() -> None:
    with pytest.raises(ConfigError):
        drawn_parts([_case("a"), _case("b")], HeldOut(num_development=1, num_test=1), seed=0)


def test_a_person_in_two_parts_or_two_centres_is_refused() -> None:
    two_parts = _plan(("target_a", [(_case("a1", "a"), "train"), (_case("a2", "a"), "test")]))
    two_centres = _plan(("source_a", [(_case("a1", "a"), "train")]), ("target_b", [(_case("a2", "a"), "train")]))

    for plan in (two_parts, two_centres):
        with pytest.raises(InputError, match="case-in-two-parts"):
            checked_plan(plan)


def test_a_source_needs_label_maps_and_a_target_does_not() -> None:
    case = _case("a", is_labelled=False)

    assert checked_plan(_plan(("target_a", [(case, "train")])))
    with pytest.raises(InputError, match="image-without-label-map"):
        checked_plan(_plan(("source_a", [(case, "train")])))


@pytest.mark.parametrize("name", ["leeds", "source_../x", "source_", "both_x"])
def test_a_centre_has_a_proper_name(name: str) -> None:
    with pytest.raises(ConfigError):
        checked_plan(_plan((name, [(_case("a"), "train")])))


def test_names_that_differ_by_case_alone_are_one_name() -> None:
    with pytest.raises(InputError, match="case-name"):
        checked_plan(_plan(("source_a", [(_case("a"), "train"), (_case("A"), "train")])))


def test_a_plan_needs_somebody_to_train_with() -> None:
    with pytest.raises(InputError, match="no-cases"):
        checked_plan(_plan(("source_a", [(_case("a"), "test")])))


def test_pseudonyms_say_nothing_about_the_order_of_names() -> None:
    names = pseudonyms([_case(f"{letter}") for letter in "abcdefgh"], seed=0)

    assert sorted(names.values()) == [f"case{number:04d}" for number in range(1, 9)]
    assert [names[letter] for letter in "abcdefgh"] != sorted(names.values())


def test_several_numbers_become_one_class_and_known_others_background() -> None:
    classes = classes_by("x", {1: "core", 2: "oedema", 3: "skull", 4: "rim"}, {"tumour": (1, 2, 4)})

    assert classes == Classes(names=("tumour",), class_of={0: 0, 1: 1, 2: 1, 3: 0, 4: 1})
    assert classes_by("x", {7: "b", 3: "a"}, {}) == Classes(names=("a", "b"), class_of={0: 0, 3: 1, 7: 2})
    for wanted in ({}, {"a": ()}, {"a": (0,)}, {"a": (1,), "b": (1,)}):
        with pytest.raises(ConfigError):
            classes_by("x", {}, wanted)


def test_a_layout_keeps_its_own_split_unless_numbers_are_given() -> None:
    cases = tuple(_case(f"s{number}", part="test" if number == 0 else "train") for number in range(4))
    listing = Listing(cases=cases, label_names={1: "heart"}, channel_name="CT")
    own = plan_centre("x", listing, CentreWish(role=SiteRole.SOURCE, name="a"))
    drawn = plan_centre("x", listing, CentreWish(role=SiteRole.SOURCE, name="a", held_out=HeldOut(num_test=2)))

    assert [case.listed.case_id for case in own.centres[0].cases if case.part == "test"] == ["s0"]
    assert sum(case.part == "test" for case in drawn.centres[0].cases) == 2


def test_the_channel_has_to_be_named_by_somebody() -> None:
    listing = Listing(cases=(_case("a"),), label_names={1: "heart"})
    with pytest.raises(ConfigError, match="--channel"):
        plan_centre("x", listing, CentreWish(role=SiteRole.SOURCE, name="a"))
