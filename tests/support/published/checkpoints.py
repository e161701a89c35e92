"""Imports models in tests, and reads the arrays of a checkpoint back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import numpy as np

from trainer.config import MeshConfig
from trainer.mesh import make_mesh
from trainer.model.llama.config import LlamaConfig
from trainer.model.protocol import Model
from trainer.published.import_config import ImportConfig
from trainer.published.importing import import_model
from trainer.published.plan import array_shapes
from trainer.run.arrays import ArrayReader
from trainer.run.checkpoint import open_run
from trainer.run.description import Description
from trainer.run.state import load_model


def imported(source: Path | str, out: Path, **options: Any) -> Path:
    """Import a model and return its folder."""
    import_model(str(source), ImportConfig(out=out, **options))
    return out


def loaded(run: Path) -> tuple[Model, Description]:
    """Load the model of a run on one device."""
    return load_model(run, mesh=make_mesh(MeshConfig(), devices=jax.devices()[:1]))


def description(run: Path) -> Description:
    """Return the description of a run's newest checkpoint."""
    with open_run(run) as checkpoints:
        return checkpoints.describe(checkpoints.newest())


def arrays(run: Path) -> dict[str, np.ndarray]:
    """Return the arrays of a checkpoint by name."""
    about = description(run)
    assert isinstance(about.model, LlamaConfig)
    sizes = {"text_size": about.vocabulary.text_size, "vision_size": about.vocabulary.vision_size}
    reader = ArrayReader(run / "checkpoints" / "0" / "params")
    return {
        name: reader.read(name, tuple(slice(0, n) for n in shape))
        for name, shape in array_shapes(about.model, **sizes).items()
    }


def logits(model: Model, tokens: np.ndarray) -> np.ndarray:
    """Return the logits [B,S,V] of documents, one per row."""
    import jax.numpy as jnp

    ids = jnp.asarray(tokens, jnp.int32)
    positions = jnp.broadcast_to(jnp.arange(ids.shape[1], dtype=jnp.int32)[None], ids.shape)
    hidden = model(ids, jnp.ones_like(ids), positions)
    return np.asarray(jnp.einsum("bsd,vd->bsv", hidden, jnp.concatenate(model.heads())))


def accurate_logits(model: Model, tokens: np.ndarray) -> np.ndarray:
    """Return the same in float32 with the sums of matrix products in float64.

    XLA sums products of float32 in long runs on a CPU, with an error of 4e-7; the other operations add 3e-8 each.
    """
    with jax.enable_x64(True), jax.default_matmul_precision("F64_F64_F64"):
        return logits(model, tokens)


def require_same(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> None:
    """Fail unless both have the same arrays, bit by bit."""
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_array_equal(a[name], b[name], err_msg=name)
