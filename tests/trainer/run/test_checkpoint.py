from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from schemas.errors import ConfigError, DatasetError
from schemas.runs.checksums import write_checksums
from tests.support.bit_flips import flips
from tests.support.training.training_dataset import VOCABULARY
from trainer.config import MeshConfig
from trainer.mesh import Weight, make_mesh, shardings
from trainer.model.llama.config import debug
from trainer.run.checkpoint import Checkpoints, named, open_run
from trainer.run.description import Description
from trainer.run.optimizer import OptimizerConfig, make_optimizer
from trainer.run.retention import Retention

pytestmark = pytest.mark.slow

DESCRIPTION = Description(
    model=debug(), vocabulary=VOCABULARY, context_length=128, dataset_fingerprint="f" * 64, batch_size=2, seed=0
)
MESHES = [MeshConfig(sequence=8), MeshConfig(data=2, fsdp=2, tensor=2, sequence=1), MeshConfig(fsdp=4, sequence=2)]


class _Model(nnx.Module):
    def __init__(self, *, rngs: nnx.Rngs) -> None:
        normal = jax.random.normal
        self.matrix = Weight(shape=(16, 32), dims=("embed", "ff"), init=normal).make(rngs.params())
        self.norm = Weight(shape=(2, 16), dims=("layers", "model"), init=normal).make(rngs.params())


def _state(mesh_config: MeshConfig, *, seed: int = 0) -> tuple[Any, Any]:
    """Parameters and optimizer state on a mesh."""
    mesh = make_mesh(mesh_config)
    params = nnx.state(_Model(rngs=nnx.Rngs(seed)))
    params = jax.device_put(params, shardings(params, mesh))
    init = make_optimizer(OptimizerConfig(), steps=10).init
    return params, jax.jit(init, out_shardings=shardings(jax.eval_shape(init, params), mesh))(params)


def _like(tree: Any) -> Any:
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), tree)


def _save(checkpoints: Checkpoints, step: int, state: tuple[Any, Any]) -> None:
    position = {"next_index": step}
    checkpoints.save(step, params=state[0], optimizer=state[1], position=position, description=DESCRIPTION)


def _equal(a: Any, b: Any) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))


@pytest.mark.parametrize("saved", MESHES)
@pytest.mark.parametrize("restored", MESHES)
def test_a_checkpoint_is_restored_bit_for_bit_on_another_mesh(
    tmp_path: Path, saved: MeshConfig, restored: MeshConfig
) -> None:
    state = _state(saved)
    with Checkpoints(tmp_path, keep=Retention(newest=2)) as checkpoints:
        _save(checkpoints, 3, state)
    target = _state(restored, seed=1)
    with open_run(tmp_path) as checkpoints:
        assert checkpoints.latest() == 3
        params = checkpoints.restore_params(3, _like(target[0]))
        optimizer = checkpoints.restore_optimizer(3, _like(target[1]))
        assert checkpoints.restore_position(3) == {"next_index": 3}
        assert checkpoints.describe(3) == DESCRIPTION
    assert _equal(params, state[0])
    assert _equal(optimizer, state[1])
    for back, wanted in zip(jax.tree.leaves((params, optimizer)), jax.tree.leaves(target), strict=True):
        assert back.sharding == wanted.sharding


def test_only_the_newest_checkpoints_are_kept(tmp_path: Path) -> None:
    state = _state(MESHES[0])
    with Checkpoints(tmp_path, keep=Retention(newest=2)) as checkpoints:
        for step in (1, 2, 5, 9):
            _save(checkpoints, step, state)
    assert sorted(p.name for p in (tmp_path / "checkpoints").iterdir()) == ["5", "9"]


def test_saving_the_same_step_again_is_no_error(tmp_path: Path) -> None:
    with Checkpoints(tmp_path, keep=Retention(newest=2)) as checkpoints:
        _save(checkpoints, 4, _state(MESHES[0]))
        _save(checkpoints, 4, _state(MESHES[0]))
        assert checkpoints.latest() == 4


def test_names_do_not_depend_on_the_classes_of_the_tree() -> None:
    params, optimizer = _state(MESHES[0])
    assert set(named(params)) == {"matrix", "norm"}
    assert any(name.endswith("mu/matrix") for name in named(optimizer))
    assert len(named(optimizer)) == len(jax.tree.leaves(optimizer))


def test_a_folder_that_is_not_a_run_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not the output of `longreel train`"):
        open_run(tmp_path)
    (tmp_path / "checkpoints").mkdir()
    with open_run(tmp_path) as checkpoints, pytest.raises(ConfigError, match="no finished checkpoint"):
        checkpoints.newest()


def test_a_damaged_checkpoint_is_reported_with_its_path_and_a_remedy(tmp_path: Path) -> None:
    state = _state(MESHES[0])
    with Checkpoints(tmp_path, keep=Retention(newest=3)) as checkpoints:
        for step in (2, 3, 5):
            _save(checkpoints, step, state)
    _halve(next((tmp_path / "checkpoints/5/params").rglob("d/*")))
    _halve(tmp_path / "checkpoints/3/position/metadata")
    remedy = r"The newest intact checkpoint before it is \S+/checkpoints/2: to continue from it, remove \S+/3, \S+/5"
    with open_run(tmp_path) as checkpoints:
        with pytest.raises(DatasetError, match=rf"checkpoints/5 is damaged: \S+/params/\S+ has \d+ bytes.*{remedy}"):
            checkpoints.restore_params(5, _like(state[0]))
        checkpoints.restore_optimizer(5, _like(state[1]))
        with pytest.raises(DatasetError, match=r"checkpoints/3 is damaged: \S+/position/metadata has"):
            checkpoints.restore_position(3)


def _halve(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def test_a_flipped_bit_of_any_restored_file_is_found(tmp_path: Path) -> None:
    state = _state(MESHES[0])
    with Checkpoints(tmp_path, keep=Retention(newest=2)) as checkpoints:
        _save(checkpoints, 3, state)
    folder = tmp_path / "checkpoints" / "3"
    paths = [path for name in ("params", "description", "checksums.json") for path in [folder / name]]
    files = [file for path in paths for file in ([path] if path.is_file() else path.rglob("*")) if file.is_file()]
    assert len(files) > 8
    for file in files:
        for _ in flips(file, 2):
            with pytest.raises(DatasetError, match=f"is damaged: .*{file.name}"):
                _restore(tmp_path, state[0])


def _restore(run: Path, params: Any) -> None:
    with open_run(run) as checkpoints:
        checkpoints.describe(3)
        checkpoints.restore_params(3, _like(params))


@pytest.mark.parametrize("content", ["[" * 100_000, "[]", "3", '{"model": 3}', '{"model": {"family": []}}', "{"])
def test_a_description_of_another_form_is_an_error(tmp_path: Path, content: str) -> None:
    with Checkpoints(tmp_path, keep=Retention(newest=2)) as checkpoints:
        _save(checkpoints, 3, _state(MESHES[0]))
    folder = tmp_path / "checkpoints" / "3"
    (folder / "description" / "metadata").write_text(content)
    write_checksums(folder, ["description"])
    with open_run(tmp_path) as checkpoints, pytest.raises((DatasetError, ConfigError), match="checkpoints/3"):
        checkpoints.describe(3)


_SAVE_FOR_EVER = """
import sys
from pathlib import Path
import jax.numpy as jnp
from tests.trainer.run.test_checkpoint import DESCRIPTION
from trainer.run.checkpoint import Checkpoints
from trainer.run.retention import Retention
tree = {str(i): jnp.full((256, 256), i, jnp.float32) for i in range(40)}
with Checkpoints(Path(sys.argv[1]), keep=Retention(newest=3)) as checkpoints:
    for step in range(1, 10000):
        values = {name: array + step for name, array in tree.items()}
        checkpoints.save(step, params=values, optimizer=values, position={"next_index": step}, description=DESCRIPTION)
        print(step, flush=True)
"""


def test_a_process_killed_while_saving_leaves_a_complete_checkpoint(tmp_path: Path) -> None:
    child = subprocess.Popen([sys.executable, "-c", _SAVE_FOR_EVER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    for line in child.stdout:
        if int(line) == 6:
            time.sleep(0.02)
            break
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdout.close()
    here = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    like = {str(i): jax.ShapeDtypeStruct((256, 256), jnp.float32, sharding=here) for i in range(40)}
    with open_run(tmp_path) as checkpoints:
        step = checkpoints.newest()
        assert step >= 5
        for restored in (checkpoints.restore_params(step, like), checkpoints.restore_optimizer(step, like)):
            assert all(bool(jnp.all(restored[str(i)] == i + step)) for i in range(40))
        assert checkpoints.restore_position(step) == {"next_index": step}


_SAVE_BIG = """
import resource, signal, sys
from pathlib import Path
import jax, jax.numpy as jnp
from schemas.errors import StorageError
from tests.trainer.run.test_checkpoint import DESCRIPTION
from trainer.run.checkpoint import Checkpoints
from trainer.run.retention import Retention
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
tree = {"a": jax.random.normal(jax.random.key(0), (1024, 1024))}
empty = {"a": jnp.zeros(2)}
with Checkpoints(Path(sys.argv[1]), keep=Retention(newest=3)) as checkpoints:
    checkpoints.save(1, params=empty, optimizer=empty, position={}, description=DESCRIPTION)
    checkpoints.wait()
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
    try:
        checkpoints.save(2, params=tree, optimizer=tree, position={}, description=DESCRIPTION)
        checkpoints.wait()
    except StorageError as e:
        print("StorageError:", e)
"""


def test_a_full_disk_is_a_storage_error_and_the_older_checkpoint_is_kept(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", _SAVE_BIG, str(tmp_path)], capture_output=True, text=True, check=False)
    assert "StorageError: cannot write a checkpoint" in done.stdout, done.stderr
    assert "checkpoints: File too large. Earlier checkpoints are kept" in done.stdout
    assert "Traceback" not in done.stderr
    with open_run(tmp_path) as checkpoints:
        assert checkpoints.latest() == 1
