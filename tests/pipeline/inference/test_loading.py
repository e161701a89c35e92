"""A run is loaded into an engine, with the document grammar if frames are asked for."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import jax
import pytest

from pipeline.inference.loading import load_engine
from pipeline.sources.samples.model import SHIPPED
from schemas.errors import ConfigError
from tests.support.training.training_dataset import VOCABULARY
from trainer.config import MeshConfig
from trainer.inference.engine import EngineConfig
from trainer.mesh import make_mesh
from trainer.model.llama.config import debug
from trainer.run.checkpoint import Checkpoints
from trainer.run.description import Description
from trainer.run.optimizer import OptimizerConfig, make_optimizer
from trainer.run.retention import Retention
from trainer.run.state import Plan, new_state

pytestmark = pytest.mark.slow

MODEL, OPTIMIZER = debug(), OptimizerConfig()


def write_run(run: Path) -> None:
    """Write two checkpoints, which differ in their seeds, as training runs do."""
    mesh, optimizer = make_mesh(MeshConfig(sequence=1), devices=jax.devices()[:1]), make_optimizer(OPTIMIZER, steps=2)
    plan = Plan.of(MODEL, VOCABULARY, optimizer=optimizer, mesh=mesh)
    with Checkpoints(run, keep=Retention(newest=2)) as checkpoints:
        for seed in (1, 2):
            state = new_state(plan, MODEL, VOCABULARY, optimizer=optimizer, seed=seed)
            about = Description(
                model=MODEL, vocabulary=VOCABULARY, context_length=128, dataset_fingerprint="f", batch_size=8, seed=seed
            )
            checkpoints.save(seed, params=state.params, optimizer=state.optimizer, position={}, description=about)


def test_the_newest_checkpoint_is_loaded(tmp_path: Path) -> None:
    write_run(tmp_path / "run")
    engine, description = load_engine(tmp_path / "run", EngineConfig(block=32), frame_tokens=4)
    assert (engine.size, engine.config.block, description.context_length) == (VOCABULARY.size, 32, 128)
    assert description.seed == 2
    assert engine.grammar is not None
    assert load_engine(tmp_path / "run", EngineConfig())[0].grammar is None
    with pytest.raises(ConfigError, match="has no moving average of the parameters"):
        load_engine(tmp_path / "run", EngineConfig(), weights="ema")


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is not the output of `longreel train`"):
        load_engine(tmp_path, EngineConfig())


_CHAT = """
import sys
import jax
from pipeline.inference.config import LocalConfig
from pipeline.inference.loading import load_chat
from trainer.inference.engine import EngineConfig
load_chat(sys.argv[1], LocalConfig(devices=2, vision="small-128"), EngineConfig(rows=1))
print(jax.device_count())
"""


@pytest.mark.campaign
def test_the_number_of_devices_is_set_before_the_tokenizer_of_frames_starts_jax() -> None:
    environment = {name: value for name, value in os.environ.items() if name != "JAX_NUM_CPU_DEVICES"}
    command = [sys.executable, "-c", _CHAT, str(SHIPPED)]
    assert subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout == "2\n"
