"""What stays at a site between rounds: teacher, optimiser, pseudo-labels, synthetic pairs, the last global models.

Everything is on disk, because in a deployment every round is a new process. Nothing here is ever sent.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from diffuse_uda.data.atomic import replaced_atomically
from diffuse_uda.training.batches import Example
from diffuse_uda.types import StateDict

CASES = "cases-"
"""Beginning of the names of prepared cases: they follow from scans and grid alone, so every run may use them."""


class SiteState:
    """The private folder of one site in one study."""

    def __init__(self, folder: Path) -> None:
        """Use (and make) a folder of the site's own."""
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def forget_run(self) -> None:
        """Delete what an earlier run left, so that a new one starts from nothing; prepared cases belong to no run."""
        for path in self.folder.iterdir():
            if not path.name.startswith(CASES):
                path.unlink()

    def save_tensors(self, name: str, tensors: StateDict) -> None:
        """Keep named tensors."""
        with replaced_atomically(self.folder / f"{name}.safetensors") as draft:
            draft.write_bytes(safetensors.torch.save({key: value.contiguous().cpu() for key, value in tensors.items()}))

    def load_tensors(self, name: str) -> StateDict | None:
        """Named tensors that were kept, or None."""
        file = self.folder / f"{name}.safetensors"
        return safetensors.torch.load(file.read_bytes()) if file.exists() else None

    def save_optimizer(self, phase: str, state: Mapping[str, Any]) -> None:
        """Keep an optimiser's moments until the phase's next round."""
        buffer = io.BytesIO()
        torch.save(dict(state), buffer)
        with replaced_atomically(self.folder / f"optimizer-{phase}.pt") as draft:
            draft.write_bytes(buffer.getvalue())

    def load_optimizer(self, phase: str) -> dict[str, Any] | None:
        """Moments of the phase's last round, or None in its first."""
        file = self.folder / f"optimizer-{phase}.pt"
        return dict(torch.load(file, weights_only=True)) if file.exists() else None

    def remember_global(self, weights: StateDict, keep: int) -> None:
        """Keep a received global segmenter; the last `keep` of them join the pseudo-label ensemble."""
        kept = sorted(self.folder.glob("global-*.safetensors"))
        index = int(kept[-1].stem.removeprefix("global-")) + 1 if kept else 0
        if keep > 0:
            self.save_tensors(f"global-{index:05d}", weights)
        for old in kept[: max(0, len(kept) + 1 - keep)]:
            old.unlink()

    def forget_globals(self) -> None:
        """Drop the remembered segmenters: what is remembered from now on belongs to the next labelling."""
        for file in self.folder.glob("global-*.safetensors"):
            file.unlink()

    def recent_globals(self) -> list[StateDict]:
        """The remembered global segmenters, oldest first."""
        return [safetensors.torch.load(file.read_bytes()) for file in sorted(self.folder.glob("global-*.safetensors"))]

    def save_examples(self, name: str, examples: list[Example]) -> None:
        """Keep examples (pseudo-labelled or synthetic) without any name of a case."""
        tensors: dict[str, Tensor] = {}
        for index, example in enumerate(examples):
            tensors[f"{index:05d}.image"] = example.image
            tensors[f"{index:05d}.domain"] = torch.tensor([example.domain])
            if example.label_map is not None:
                tensors[f"{index:05d}.label_map"] = example.label_map.to(torch.uint8)
            if example.voxel_weight is not None:
                tensors[f"{index:05d}.voxel_weight"] = example.voxel_weight
        self.save_tensors(name, tensors)

    def load_examples(self, name: str) -> list[Example]:
        """Examples that were kept; none if nothing was."""
        tensors = self.load_tensors(name) or {}
        return [
            Example(
                image=tensors[f"{index}.image"],
                label_map=tensors.get(f"{index}.label_map"),
                voxel_weight=tensors.get(f"{index}.voxel_weight"),
                domain=int(tensors[f"{index}.domain"]),
            )
            for index in sorted({key.split(".")[0] for key in tensors})
        ]
