"""Judgements about a case beside the others of its centre: what is odd here may be usual elsewhere."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from diffuse_uda.data.broken_rule import BrokenRuleError
from diffuse_uda.data.intake.case_check import CheckedCase
from diffuse_uda.data.intake.label_facts import LabelFacts
from diffuse_uda.data.intake.scan_facts import NUM_BLOCKS, ScanFacts
from diffuse_uda.data.intake.scan_rules import NUM_CORNERS

MIN_CASES = 5
"""Fewer cannot say what is usual."""
MIN_CASES_WITH_STRUCTURE = 9
MIN_FIT, MIN_GAIN = 0.8, 0.15
SYMMETRIC = 0.9
FACE_CUT, FACE_USUAL = 0.3, 0.05
ABRUPT, TAPERED = 0.6, 0.3
MIN_STRUCTURES = 4
MAX_TEMPLATE_CASES = 1000
"""More do not make the median scan any better."""
FACES = ("left", "right", "posterior", "anterior", "inferior", "superior")
AXES = ("left-right", "posterior-anterior", "inferior-superior")

Oddity = tuple[CheckedCase, BrokenRuleError]
Array = npt.NDArray[Any]


def judge_scans(cases: Sequence[CheckedCase]) -> Iterator[Oddity]:
    """Compare the scans of a centre."""
    described = [(case, case.scan) for case in cases if case.scan is not None]
    if len(described) < MIN_CASES:
        return
    yield from _turned(described)
    yield from _cut_off(described)


def judge_label_maps(cases: Sequence[CheckedCase], names: Mapping[int, str]) -> Iterator[Oddity]:
    """Compare the label maps of a source's training cases.

    Args:
        cases: Training cases.
        names: Structures by their value in the file.
    """
    described = [(case, case.labels) for case in cases if case.labels is not None and case.labels.num_labelled > 0]
    if len(described) < MIN_CASES:
        return
    yield from _structures_missing(described, names)
    yield from _ended_abruptly(described)
    yield from _of_other_contrast(described)


def judge_orientations(cases: Sequence[CheckedCase]) -> str | None:
    """How many scans lie in which orientation, if there is more than one."""
    words = Counter(case.scan.orientation for case in cases if case.scan is not None)
    return ", ".join(f"{count} {word}" for word, count in sorted(words.items())) if len(words) > 1 else None


def _turned(described: Sequence[tuple[CheckedCase, ScanFacts]]) -> Iterator[Oddity]:
    """Find scans that resemble the median scan in another of the 48 axis orders than their own."""
    orders = axis_orders()
    every = -(-len(described) // MAX_TEMPLATE_CASES)
    template = np.median(np.stack([_blocks(facts) for _, facts in described[::every]]), axis=0).ravel()
    turns = _standardised(np.stack([template[order] for _, _, order in orders]))
    is_symmetric = float(turns[0] @ turns[_mirror(orders)]) / template.size > SYMMETRIC
    for case, facts in described:
        fits = turns @ _standardised(_blocks(facts).reshape(1, -1))[0] / template.size
        if is_symmetric:
            fits[_mirror(orders)] = -1.0
        best = int(fits.argmax())
        if fits[best] >= MIN_FIT and fits[best] - fits[0] >= MIN_GAIN:
            fit = f"correlation {fits[best]:.2f} with the centre's median scan, {fits[0]:.2f} as it lies"
            if best == _mirror(orders):
                yield case, BrokenRuleError("left-right-swapped", found=f"when mirrored, a {fit}")
            else:
                yield case, BrokenRuleError("turned-scan", found=f"with {_words(orders[best])}, a {fit}")


def axis_orders() -> list[tuple[tuple[int, ...], tuple[int, ...], Array]]:
    """All 48 ways to exchange and reverse three axes; the first leaves everything as it is.

    Returns:
        The order of the axes, -1 or 1 for each, and the flat index of the turned blocks.
    """
    index = np.arange(NUM_BLOCKS**3).reshape((NUM_BLOCKS,) * 3)
    return [
        (order, signs, index.transpose(order)[tuple(slice(None, None, sign) for sign in signs)].ravel())
        for order in itertools.permutations(range(3))
        for signs in itertools.product((1, -1), repeat=3)
    ]


def _mirror(orders: Sequence[tuple[tuple[int, ...], tuple[int, ...], Array]]) -> int:
    return next(n for n, (order, signs, _) in enumerate(orders) if order == (0, 1, 2) and signs == (-1, 1, 1))


def _words(order: tuple[tuple[int, ...], tuple[int, ...], Array]) -> str:
    axes, signs, _ = order
    moved = "" if axes == (0, 1, 2) else f"axes exchanged to {axes}"
    flipped = ", ".join(name for name, sign in zip(AXES, signs, strict=True) if sign < 0)
    return " and ".join(part for part in (moved, f"{flipped} reversed" if flipped else "") if part)


def _blocks(facts: ScanFacts) -> Array:
    return np.frombuffer(facts.blocks, np.float16).astype(np.float64)


def _standardised(rows: Array) -> Array:
    centred = rows - rows.mean(axis=1, keepdims=True)
    standardised: Array = centred / np.maximum(centred.std(axis=1, keepdims=True), 1e-9)
    return standardised


def _cut_off(described: Sequence[tuple[CheckedCase, ScanFacts]]) -> Iterator[Oddity]:
    usual = np.median([facts.faces for _, facts in described], axis=0)
    for case, facts in described:
        if facts.num_bright_corners >= NUM_CORNERS:  # a bright background is no body
            continue
        cut = [
            f"{100 * share:.0f} % of the {name} face ({100 * of_others:.0f} % in the median scan)"
            for name, share, of_others in zip(FACES, facts.faces, usual, strict=True)
            if share > FACE_CUT and of_others < FACE_USUAL
        ]
        if cut:
            yield case, BrokenRuleError("body-cut-off", found=f"body on {', '.join(cut)}")


def _structures_missing(
    described: Sequence[tuple[CheckedCase, LabelFacts]], names: Mapping[int, str]
) -> Iterator[Oddity]:
    counts = Counter(value for _, labels in described for value in labels.values)
    for case, labels in described:
        forgotten = [
            value
            for value in sorted(names.keys() - set(labels.values) - {0})
            if counts[value] == len(described) - 1 >= MIN_CASES_WITH_STRUCTURE
        ]
        if forgotten:
            found = f"no voxel of {', '.join(names[value] for value in forgotten)}, which all others have"
            yield case, BrokenRuleError("structure-missing", found=found)


def _ended_abruptly(described: Sequence[tuple[CheckedCase, LabelFacts]]) -> Iterator[Oddity]:
    usual = np.median([labels.ends for _, labels in described], axis=0)
    for case, labels in described:
        for name, end, of_others in zip(AXES, labels.ends, usual, strict=True):
            if end > ABRUPT and of_others <= TAPERED:
                found = (
                    f"{name}, the outermost labelled slice has {100 * end:.0f} % of the largest area, "
                    f"{100 * of_others:.0f} % in the median case"
                )
                yield case, BrokenRuleError("partial-annotation", found=found)


def _of_other_contrast(described: Sequence[tuple[CheckedCase, LabelFacts]]) -> Iterator[Oddity]:
    """Find cases whose structures are in another order of brightness than in the median case."""
    common = sorted(set.intersection(*(set(labels.brightness) for _, labels in described)))
    if len(common) < MIN_STRUCTURES:
        return
    ranks = np.stack([_ranks([labels.brightness[value] for value in common]) for _, labels in described])
    usual = _ranks(np.median(ranks, axis=0))
    for (case, _), own in zip(described, ranks, strict=True):
        correlation = float(np.corrcoef(own, usual)[0, 1])
        if correlation < 0:
            found = f"rank correlation {correlation:.2f} of {len(common)} structures' brightness with the median case"
            yield case, BrokenRuleError("contrast-differs", found=found)


def _ranks(numbers: npt.ArrayLike) -> Array:
    ranks: Array = np.argsort(np.argsort(numbers)).astype(np.float64)
    return ranks
