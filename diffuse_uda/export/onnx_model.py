"""The segmenter as ONNX: one patch in, logits out, any number of patches at a time."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from diffuse_uda.config import GridConfig
from diffuse_uda.export.agreement import check_batches, require_same_logits

INPUT, OUTPUT = "image", "logits"


def write_onnx(file: Path, model: nn.Module, grid: GridConfig) -> float:
    """Export a segmenter and run the file against it.

    Args:
        file: Where it goes.
        model: On the CPU, in evaluation mode.
        grid: Patch size; the batch is free.

    Returns:
        Largest difference of any logit, on noise and on a realistic patch.

    Raises:
        ReleaseError: If ONNX Runtime does not say what torch says.
    """
    import onnxruntime  # noqa: PLC0415 - a second, for those who export

    # The exporter lists every torchvision operator that it could not register; nobody here has any.
    logging.getLogger("torch.onnx._internal.exporter._registration").setLevel(logging.ERROR)
    program = torch.onnx.export(
        model,
        (torch.zeros((2, 1, *grid.patch_size)),),  # a batch of one would be taken for a constant
        dynamo=True,
        input_names=[INPUT],
        output_names=[OUTPUT],
        dynamic_shapes=({0: torch.export.Dim("batch", min=1)},),
        verbose=False,
    )
    if program is None:
        msg = "the exporter gave nothing back"
        raise RuntimeError(msg)
    file.write_bytes(_without_traces(program.model_proto).SerializeToString())
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])

    def run(batch: Tensor) -> Tensor:
        (logits,) = session.run([OUTPUT], {INPUT: batch.numpy()})
        return torch.from_numpy(logits)

    return require_same_logits("ONNX", model, run, check_batches(grid))


def _without_traces(model: Any) -> Any:  # noqa: ANN401 - protobuf
    """Drop what the exporter notes for debuggers: stack traces hold the folders of this machine."""
    graphs = [model.graph, *model.functions]
    while graphs:
        graph = graphs.pop()
        del graph.metadata_props[:]
        graph.doc_string = ""
        for node in graph.node:
            del node.metadata_props[:]
            node.doc_string = ""
            graphs.extend(attribute.g for attribute in node.attribute if attribute.HasField("g"))
        for value in (*graph.value_info, *getattr(graph, "input", ()), *getattr(graph, "output", ())):
            if not isinstance(value, str):
                del value.metadata_props[:]
                value.doc_string = ""
    del model.metadata_props[:]
    return model
