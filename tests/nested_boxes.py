"""The smallest anatomy: a box in a box, of two people."""

import torch
from torch import Tensor

SIZE = 16
NUM_CLASSES = 3


def nested_boxes() -> Tensor:
    """Label maps of shape (2, 1, 16, 16, 16), of classes 0 to 2; the inner box is of another size in each."""
    label_map = torch.zeros(2, 1, SIZE, SIZE, SIZE, dtype=torch.int64)
    label_map[:, :, 3:13, 3:13, 3:13] = 1
    label_map[0, :, 5:9, 5:11, 5:11], label_map[1, :, 6:11, 4:9, 5:11] = 2, 2
    return label_map
