"""A study is described once: it survives Flower's flat form, and whatever it does not know is refused by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from diffuse_uda.config import (
    AdaptConfig,
    DenoiserConfig,
    FitConfig,
    GridConfig,
    SegmenterConfig,
    StudyConfig,
    StyleConfig,
    StyleProvider,
    preset,
    validated,
)
from diffuse_uda.errors import ConfigError
from diffuse_uda.types import Scalar


@pytest.mark.parametrize("name", ["small", "paper"])
def test_a_preset_survives_the_flat_form(name: str) -> None:
    study = preset(name)
    assert study.preset == name
    assert StudyConfig.from_flat(study.to_flat()) == study


def test_every_field_survives_the_flat_form_changed() -> None:
    study = StudyConfig(
        name="x",
        seed=7,
        grid=GridConfig(spacing_mm=(1.5, 2.0, 2.5), patch_size=(16, 32, 16)),
        segmenter=SegmenterConfig(channels=(4, 8)),
        denoiser=DenoiserConfig(channels=(8, 16), attention_levels=(False, True), domain_conditioning=False),
        style=StyleConfig(provider=StyleProvider.SYNTHETIC, window=0.25),
    )
    assert StudyConfig.from_flat(study.to_flat()) == study


def test_flat_keys_are_dotted_and_kebab_case_with_scalars_only() -> None:
    flat = StudyConfig(adapt=AdaptConfig(num_rounds=7), grid=GridConfig(patch_size=(16, 32, 16))).to_flat()
    assert flat["adapt.num-rounds"] == 7
    assert flat["grid.patch-size"] == "[16, 32, 16]"
    assert flat["style.provider"] == "none"
    assert not any("_" in key for key in flat)
    assert all(isinstance(value, bool | int | float | str) for value in flat.values())


def test_overrides_stand_on_the_preset_that_they_name() -> None:
    study = StudyConfig.from_flat({"preset": "paper", "adapt.num-rounds": 3})
    assert study.adapt.num_rounds == 3
    assert study.refine.num_rounds == preset("paper").refine.num_rounds != preset("small").refine.num_rounds
    assert study.grid.patch_size == (128, 128, 128)


def test_paper_takes_the_sizes_of_the_paper() -> None:
    study = preset("paper")
    assert (study.segmenter.kind, study.segmenter.num_levels) == ("segresnet", 4)
    assert preset("small").segmenter.num_levels == 4


def test_unknown_preset_names_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="unknown preset 'big'; known: 'small', 'paper'"):
        StudyConfig.from_flat({"preset": "big"})


@pytest.mark.parametrize(
    ("key", "nearest"),
    [("adapt.num-round", "adapt.num-rounds"), ("grid.patch", "grid.patch-size"), ("sed", "seed")],
)
def test_an_unknown_key_names_the_nearest_known_one(key: str, nearest: str) -> None:
    with pytest.raises(ConfigError, match=f"unknown configuration keys: '{key}' .did you mean '{nearest}'"):
        StudyConfig.from_flat({key: 1})


def test_all_unknown_keys_are_named_at_once() -> None:
    with pytest.raises(ConfigError, match=r"'a\.b' \(.*'c\.d' \("):
        StudyConfig.from_flat({"a.b": 1, "c.d": 2})


def test_text_for_a_number_is_refused_although_it_could_be_read_as_one() -> None:
    with pytest.raises(ConfigError, match="seed: found the text '3'; wanted a int such as 0"):
        StudyConfig.from_flat({"seed": "3"})


def test_text_that_is_no_list_is_refused_for_a_list() -> None:
    with pytest.raises(ConfigError, match=r"grid.patch-size: found '40x48x40'; wanted a JSON list such as \[40"):
        StudyConfig.from_flat({"grid.patch-size": "40x48x40"})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("adapt.num-local-steps", 0),
        ("adapt.num-local-steps", 1.5),
        ("adapt.learning-rate", -1.0),
        ("adapt.learning-rate", float("nan")),
        ("adapt.source-weight", 0.4),
        ("grid.window-overlap", 1.0),
        ("grid.patch-size", "[16, 16]"),
        ("name", "../elsewhere"),
        ("name", 3),
        ("method", "magic"),
        ("compute.device", "tpu"),
        ("num-passes", 5),
    ],
)
def test_a_wrong_value_is_refused_with_its_key_and_what_was_found(key: str, value: Scalar) -> None:
    with pytest.raises(ConfigError, match="the study cannot be run") as error:
        StudyConfig.from_flat({key: value})
    assert f"{key}" in str(error.value)
    assert "found " in str(error.value)


def test_patch_that_a_network_cannot_halve_is_refused_with_the_factor() -> None:
    # Four levels of the segmenter halve three times: 8. The denoiser's stem and three levels: 2 * 2 * 2 = 8.
    with pytest.raises(ConfigError, match=r"grid.patch-size \(40, 44, 40\) is not a multiple of 8, .* segmenter"):
        StudyConfig.from_flat({"grid.patch-size": "[40, 44, 40]"})
    with pytest.raises(ConfigError, match="not a multiple of 8, which the denoiser"):
        StudyConfig.from_flat({"grid.patch-size": "[40, 44, 40]", "segmenter.channels": "[4, 8]"})


def test_levels_of_the_denoiser_must_agree() -> None:
    with pytest.raises(ConfigError, match="attention-levels has 3 entries, channels has 2"):
        StudyConfig.from_flat({"denoiser.channels": "[8, 16]"})


def test_the_noise_is_predicted_by_the_ddpm_and_by_nothing_else() -> None:
    with pytest.raises(ConfigError, match=r"recipe = ddpm does not go with diffusion.prediction-type = sample"):
        StudyConfig.from_flat({"diffusion.recipe": "ddpm"})
    with pytest.raises(ConfigError, match=r"recipe = rectified-flow does not go with .* = epsilon"):
        StudyConfig.from_flat({"diffusion.prediction-type": "epsilon"})
    papers: dict[str, Scalar] = {
        "diffusion.recipe": "ddpm",
        "diffusion.prediction-type": "epsilon",
        "denoiser.class-table": False,
    }
    assert StudyConfig.from_flat(papers).diffusion.recipe == "ddpm"


def test_the_class_table_needs_a_denoiser_that_predicts_clean_images() -> None:
    velocity: dict[str, Scalar] = {"diffusion.prediction-type": "velocity"}
    with pytest.raises(ConfigError, match=r"class-table = true needs diffusion.prediction-type = sample"):
        StudyConfig.from_flat(velocity)
    assert not StudyConfig.from_flat(velocity | {"denoiser.class-table": False}).denoiser.class_table


def test_mean_block_has_to_be_allowed_by_the_study() -> None:
    with pytest.raises(ConfigError, match=r"needs exchange.allow-style-blocks = true"):
        StudyConfig.from_flat({"style.provider": "mean-block"})
    study = StudyConfig.from_flat({"style.provider": "mean-block", "exchange.allow-style-blocks": True})
    assert study.style.provider is StyleProvider.MEAN_BLOCK


def test_an_error_of_a_whole_section_is_reported_without_its_key() -> None:
    with pytest.raises(ConfigError, match="grid: found 3; "):
        validated({"grid": 3})


def test_sections_are_frozen_and_refuse_what_they_do_not_know() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        FitConfig().num_rounds = 2  # type: ignore[misc]
    unknown: dict[str, Any] = {"num_round": 2}
    with pytest.raises(ValidationError, match="Extra inputs"):
        FitConfig(**unknown)


def test_toml_selects_a_preset_and_overrides_keys_in_tables(tmp_path: Path) -> None:
    file = tmp_path / "study.toml"
    file.write_text('preset = "paper"\nseed = 5\n[grid]\npatch-size = [64, 64, 64]\nspacing_mm = [2.0, 2.0, 2.0]\n')
    study = StudyConfig.from_toml(file)
    assert (study.preset, study.seed, study.grid.patch_size) == ("paper", 5, (64, 64, 64))
    assert study.grid.spacing_mm == (2.0, 2.0, 2.0)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"seed = \n", "cannot read the study file"),
        (b'name = "\xff"\n', "cannot read the study file"),
        (b"sead = 1\n", "did you mean 'seed'"),
        (b"grid = 3\n", "unknown configuration keys: 'grid'"),
        (b'seed = "1"\n', "found the text '1'"),
        (b"seed = 2020-01-01\n", "seed: found the text"),
    ],
)
def test_a_bad_study_file_is_a_configuration_error(tmp_path: Path, content: bytes, complaint: str) -> None:
    file = tmp_path / "study.toml"
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=complaint):
        StudyConfig.from_toml(file)


def test_a_missing_study_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read the study file .*nowhere.toml"):
        StudyConfig.from_toml(tmp_path / "nowhere.toml")
