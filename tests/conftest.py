"""One thread for every test: results do not depend on the machine's cores."""

import os
import sys
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # server, client and simulations are never installed

import torch

torch.set_num_threads(1)
