"""The model card as Markdown, for people."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

CARD_MARKDOWN, CARD_JSON = "model_card.md", "model_card.json"


def card_text(card: Mapping[str, Any]) -> str:
    """Spell a card of `model_card`."""
    return "\n".join(_lines(card)) + "\n"


def _lines(card: Mapping[str, Any]) -> Iterable[str]:
    model, training, quality, made = (card[part] for part in ("model", "training", "quality", "made"))
    yield "# Model card: Federated Diffuse-UDA segmenter"
    yield ""
    yield f"Licence of the weights: **{model['licence']}**"
    yield ""
    yield f"A {model['kind']} of {model['num_parameters']:,} parameters, adapted with `{training['method']}`, for "
    yield f"{model['made_for']}. Weights SHA-256 `{model['weights_sha256']}`, plan SHA-256 `{training['plan_sha256']}`."
    yield from _section("Intended use", [card["intended_use"]])
    yield from _section("Limits", [f"- {limit}" for limit in card["limits"]])
    codes = [("-", "-", "-") if one["code"] is None else tuple(one["code"].values()) for one in card["structures"]]
    rows = [
        (one["value"], one["name"], f"{meaning} ({scheme} {value})" if meaning != "-" else "-")
        for one, (value, scheme, meaning) in zip(card["structures"], codes, strict=True)
    ]
    yield from _section("Structures", _table(("value", "name", "code"), rows))
    yield from _section("Trained on", _trained_on(training))
    yield from _section("Quality", _quality(quality))
    yield from _section("Input", [_input(card["input"])])
    checks = [f"- {form}: {_words(found)}" for form, found in card["checks"].items()]
    yield from _section("Measured when exported", checks or ["Nothing was exported."])
    versions = ", ".join(f"{name} {number}" for name, number in made["versions"].items())
    yield from _section("Made", [f"{made['at']} with {versions}."])


def _section(title: str, lines: Sequence[str]) -> Iterable[str]:
    yield ""
    yield f"## {title}"
    yield ""
    yield from lines


def _trained_on(training: Mapping[str, Any]) -> list[str]:
    if not training["sites"]:
        return ["The record of the run was not beside the model: sites, counts and rounds are not known here."]
    columns = ("site", "role", "training scans", "labelled held-out scans")
    rows = [tuple(site.values()) for site in training["sites"]]
    rounds = ", ".join(f"{phase} {count}" for phase, count in training["rounds"].items())
    return [*_table(columns, rows), "", f"Rounds: {rounds or 'not known'}.", "", "Sites appear under pseudonyms."]


def _quality(quality: Mapping[str, Any]) -> list[str]:
    lines = []
    if quality["without_labels"]:
        rows = [(site, f"{value:.3f}") for site, value in quality["without_labels"].items()]
        lines += ["Without labels: mean probability of the last pseudo-labels inside the body.", ""]
        lines += [*_table(("site", "confidence"), rows), ""]
    scores = [
        (site, row, *(values.get(name, "-") for name in ("dice", "hd95-mm")))
        for site, by_row in quality["scores"].items()
        for row, values in by_row.items()
    ]
    if not scores:
        return [*lines, "No site scored the model against reference label maps."]
    said = f"Scores on held-out scans, computed at each site. Reference label maps by: **{quality['labelled_by']}**"
    return [*lines, said, "", *_table(("site", "row", "Dice", "HD95 mm"), scores)]


def _input(wanted: Mapping[str, Any]) -> str:
    spacing = " x ".join(f"{value:g}" for value in wanted["spacing_mm"])
    patch = " x ".join(map(str, wanted["patch_size"]))
    return (
        f"One scan of any grid. Working grid {spacing} mm (towards R, A, S), patch {patch}; {wanted['preprocessing']}."
    )


def _words(found: Mapping[str, Any]) -> str:
    return ", ".join(f"{key.replace('_', ' ')} {value:.3g}" for key, value in found.items())


def _table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    lines = [f"| {' | '.join(columns)} |", f"|{' --- |' * len(columns)}"]
    return [*lines, *(f"| {' | '.join(map(str, row))} |" for row in rows)]
