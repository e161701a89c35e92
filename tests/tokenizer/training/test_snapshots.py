from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from schemas.errors import ConfigError, DatasetError
from tests.support.bit_flips import flips
from tests.support.vqgan.tokenizer_training import assert_equal, config, frames, initial_state, restored_state
from tokenizer.training.crops import fingerprint
from tokenizer.training.snapshots import Snapshots, describe
from tokenizer.training.step import make_mesh

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the snapshots of three steps, of which the newest two are kept."""
    out = tmp_path_factory.mktemp("run")
    state = initial_state(config())
    with Snapshots(out) as snapshots:
        assert snapshots.latest() is None
        for step in (1, 2, 3):
            snapshots.save(state._replace(step=state.step + step), describe(config(), frames=fingerprint(frames())))
    return out


def test_the_newest_snapshots_are_kept_and_restored_to_the_bit(saved: Path) -> None:
    assert sorted(path.name for path in (saved / "snapshots").iterdir()) == ["2", "3"]
    expected, restored = initial_state(config()), restored_state(saved, 3, config())
    assert int(restored.step) == 3
    assert_equal(restored.generator, expected.generator)
    assert_equal(restored.discriminator, expected.discriminator)


def test_a_run_with_other_options_or_frames_cannot_use_a_snapshot(saved: Path) -> None:
    with pytest.raises(ConfigError, match=r"  learning_rate: the snapshot has 0.01, this run has 0.02"):
        restored_state(saved, 3, config(learning_rate=2e-2))
    with pytest.raises(ConfigError, match=r"  discriminator.weight: the snapshot has 0.8, this run has 0.5"):
        restored_state(saved, 3, config(discriminator=config().discriminator.__class__(weight=0.5)))
    with Snapshots(saved) as snapshots, pytest.raises(ConfigError, match="  frames: the snapshot has"):
        snapshots.restore(3, config(), describe(config(), frames="other"), make_mesh(1))


def test_steps_and_devices_may_change(saved: Path) -> None:
    restored_state(saved, 3, config(steps=30, save_every=5))
    assert describe(config(devices=1), frames="") == describe(config(devices=4), frames="")


def test_the_error_for_a_damaged_snapshot_names_it(saved: Path, tmp_path: Path) -> None:
    shutil.copytree(saved, tmp_path / "run")
    path = max((tmp_path / "run" / "snapshots" / "3" / "state").rglob("*"), key=lambda path: path.stat().st_size)
    remedy = r"The newest intact snapshot before it is .*/snapshots/2: to continue from it, remove .*/snapshots/3"
    for _ in flips(path, 3):
        with pytest.raises(DatasetError, match=rf"{path.name} was altered.*{remedy}"):
            restored_state(tmp_path / "run", 3, config())
    path.unlink()
    with pytest.raises(DatasetError, match=rf"{path.name} is missing.*{remedy}"):
        restored_state(tmp_path / "run", 3, config())
