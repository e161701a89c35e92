"""The loop: from packed datasets to a trained model, in steps that can be stopped anywhere and gone on with exactly.

    out/config-from-0.json     what ran from step 0 on (one file for every time the run was started)
    out/metrics.jsonl          see `metrics.py`; and out/tensorboard/
    out/checkpoints/120/       see `checkpoint.py`

The same command on the same `out` goes on from the newest checkpoint: parameters, moments, step and data position are
restored to the bit, so N steps give what k steps, a stop, and N-k steps give (on one kind of device, and one mesh).
Step and evaluation are compiled once, before anything is computed.

Cost beside the steps: one synchronisation with the host a step, to look at its loss; a copy of the state to the host a
checkpoint, which is then written beside the next steps.

Several processes (`jax.distributed`) each load their own part of a batch and write their own part of a checkpoint; the
first writes metrics. Signals must reach all of them: they agree on the step after which they stop.
"""

from __future__ import annotations

import dataclasses
import json
import math
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import grain
import jax
import numpy as np
from jax.sharding import Mesh
from numpy.typing import NDArray
from tyro.conf import OmitArgPrefixes

from schemas.errors import ConfigError, Interrupted, JobError
from schemas.files import write_text
from trainer.checkpoint import CHECKPOINTS, Checkpoints, Description
from trainer.config import RECIPES, MeshConfig, ModelConfig, parameter_count
from trainer.data import Batch, Loader, Window, held_out_batches, to_devices, training_batches
from trainer.evaluate import evaluate, losses, spread
from trainer.interrupt import Stop
from trainer.layout import Layout, permutation
from trainer.mesh import batch_sharding, make_mesh
from trainer.metrics import METRICS, MetricsLog
from trainer.optimiser import OptimiserConfig, make_optimiser, schedule
from trainer.progress import Progress
from trainer.source import PackedSplit
from trainer.state import Plan, TrainState, begin, new_state, resume, take_over
from trainer.step import StepMetrics, compile_eval, compile_step
