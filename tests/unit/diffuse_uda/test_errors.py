"""An error's text is for the person who has to act on it."""

from __future__ import annotations

from diffuse_uda.errors import ConfigError, DiffuseUdaError, Finding, InputError

FINDING = Finding(
    rule="label-outside-map",
    centre="leeds",
    case="case7",
    file="labelsTr/case7.nii.gz",
    found="label 9",
    wanted="labels 0 to 2",
    fix="renumber the label map",
)


def test_a_finding_names_rule_centre_case_file_found_wanted_and_fix_a_line_each() -> None:
    assert str(FINDING).splitlines() == [
        "[label-outside-map] centre leeds, case case7",
        "  file:   labelsTr/case7.nii.gz",
        "  found:  label 9",
        "  wanted: labels 0 to 2",
        "  fix:    renumber the label map",
    ]


def test_what_concerns_a_whole_centre_names_no_case() -> None:
    finding = Finding(rule="no-labels", centre="leeds", found="none", wanted="some", fix="add some")
    assert str(finding).startswith("[no-labels] centre leeds, case -\n  file:   -")


def test_an_input_error_counts_and_shows_every_finding() -> None:
    one, two = InputError([FINDING]), InputError([FINDING, FINDING])
    assert str(one) == f"1 problem in the input\n{FINDING}"
    assert str(two) == f"2 problems in the input\n{FINDING}\n{FINDING}"
    assert two.findings == [FINDING, FINDING]


def test_every_error_can_be_caught_as_one_kind() -> None:
    assert issubclass(InputError, DiffuseUdaError)
    assert issubclass(ConfigError, DiffuseUdaError)
