from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

from schemas.errors import ConfigError, InputError, Interrupted, JobError, StorageError
from schemas.runs.metrics import read_metrics
from tests.support.training.tensorboard_events import read_events
from tests.support.vqgan.tiny_vqgan import DOT, tiny_weights
from tests.support.vqgan.tokenizer_training import assert_equal, config, frames, largest, restored_state
from tokenizer.checkpoints import checkpoint
from tokenizer.codec import FrameCodec
from tokenizer.quantizers.fsq import FsqConfig
from tokenizer.quantizers.registry import Quantizers
from tokenizer.training.crops import CropConfig, crops, fingerprint
from tokenizer.training.snapshots import Snapshots, describe
from tokenizer.training.step import make_mesh
from tokenizer.training.train import WEIGHTS, train_tokenizer

pytestmark = pytest.mark.slow


def after(polls: int) -> Callable[[], bool]:
    """Request a stop after that many steps."""
    left = iter([False] * polls)
    return lambda: next(left, True)


def log(out: Path) -> list[dict[str, float]]:
    return read_metrics(out / "metrics.jsonl")


def test_training_improves_the_reconstructions(whole: Path) -> None:
    rows = log(whole)
    assert rows[-1]["psnr"] > rows[0]["psnr"] + 3
    assert rows[-1]["l1"] < 0.7 * rows[0]["l1"]


def test_the_log_has_codebook_metrics_in_every_row_and_the_discriminator_from_its_start(whole: Path) -> None:
    rows = log(whole)
    assert [row["step"] for row in rows] == list(range(1, 25))
    assert ["hinge" in row for row in rows] == [False] * 16 + [True] * 8
    for row in rows:
        assert 1 / 16 <= row["codebook_utilization"] <= 1
        assert 1 <= row["perplexity"] <= 16 * row["codebook_utilization"] * 1.001
        assert row["frames_per_s"] > 0


def test_every_save_writes_a_picture_to_a_file_and_to_tensorboard(whole: Path) -> None:
    pictures = sorted((whole / "pictures").iterdir())
    assert [p.name for p in pictures] == ["000010.png", "000020.png", "000024.png"]
    original, reconstructed = np.split(np.asarray(Image.open(pictures[-1]), np.float64), 2)
    expected = crops(frames(), batch=8, config=CropConfig(size=8), seed=0, step=0)
    np.testing.assert_array_equal(original, np.concatenate(list(expected), axis=1))
    assert np.abs(original - reconstructed).mean() < 60
    tags = {value.tag for event in read_events(whole) for value in event.summary.value}
    assert {"reconstruction", "train/psnr", "train/codebook_utilization", "train/hinge"} <= tags


def test_the_trained_weights_encode_and_decode(whole: Path) -> None:
    codec = FrameCodec.load(str(whole / WEIGHTS))
    piece = frames()[:, :16, :16]
    assert codec.decode(codec.encode(piece), grid=(16, 16)).shape == piece.shape


@pytest.mark.parametrize(
    "stop",
    [
        pytest.param(5, marks=pytest.mark.campaign, id="before the first save"),
        pytest.param(18, id="with the discriminator"),
    ],
)
def test_an_interrupted_and_resumed_run_equals_an_uninterrupted_one(stop: int, whole: Path, tmp_path: Path) -> None:
    with pytest.raises(Interrupted, match=f"stopped after step {stop} of 24; saved in .*same command to resume"):
        train_tokenizer(config(), frames(), out=tmp_path, is_stopping=after(stop))
    assert len(log(tmp_path)) == stop
    train_tokenizer(config(), frames(), out=tmp_path)
    assert (tmp_path / WEIGHTS).read_bytes() == (whole / WEIGHTS).read_bytes()
    assert_equal(restored_state(tmp_path, 24, config()), restored_state(whole, 24, config()))
    for ours, theirs in zip(log(tmp_path), log(whole), strict=True):
        assert ours | {"frames_per_s": 0} == theirs | {"frames_per_s": 0}
    assert {p.name for p in tmp_path.glob("config-from-*")} == {"config-from-0.json", f"config-from-{stop}.json"}


def test_a_killed_run_resumes_from_its_newest_snapshot_and_rewrites_later_rows(whole: Path, tmp_path: Path) -> None:
    shutil.copytree(whole, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "snapshots" / "24")
    train_tokenizer(config(), frames(), out=tmp_path / "run")
    assert (tmp_path / "run" / WEIGHTS).read_bytes() == (whole / WEIGHTS).read_bytes()
    assert [row["step"] for row in log(tmp_path / "run")] == list(range(1, 25))


def test_a_finished_run_is_not_changed(whole: Path) -> None:
    before = (whole / WEIGHTS).stat().st_mtime_ns
    train_tokenizer(config(), frames(), out=whole)
    assert (whole / WEIGHTS).stat().st_mtime_ns == before


def test_a_run_is_not_resumed_with_other_options_or_frames(whole: Path) -> None:
    with pytest.raises(ConfigError, match=r"learning_rate: the snapshot has 0.01, this run has 0.02"):
        train_tokenizer(config(learning_rate=2e-2), frames(), out=whole)
    with pytest.raises(ConfigError, match="  frames: the snapshot has"):
        train_tokenizer(config(), frames()[::-1], out=whole)


def test_initial_weights_of_another_shape_or_codebook_are_rejected_before_any_work(tmp_path: Path) -> None:
    checkpoint.save(tmp_path / "dot.safetensors", tiny_weights(DOT))
    out, initial = tmp_path / "out", tmp_path / "dot.safetensors"
    with pytest.raises(ConfigError, match="does not fit 'tiny'"):
        train_tokenizer(config(architecture="tiny"), frames(), out=out, initial=initial)
    more = config(quantizer="fsq", options=Quantizers(fsq=FsqConfig(levels=(4, 4, 4, 2))))
    with pytest.raises(ConfigError, match=r"quantize.embedding.weight should be \[128, 4\] and is \[16, 4\]"):
        train_tokenizer(more, frames(), out=out, initial=initial)
    assert not out.exists()


def with_exploding_moments(out: Path, whole: Path) -> None:
    """Copy a run whose newest snapshot, of step 20, has finite weights and Adam moments that explode them."""
    shutil.copytree(whole, out)
    with Snapshots(out) as snapshots:
        description = describe(config(), frames=fingerprint(frames()))
        state = snapshots.restore(20, config(), description, make_mesh(1))
    shutil.rmtree(out / "snapshots")
    huge = jax.tree.map(lambda a: a + 1e30 if a.dtype == np.float32 else a, state.optimizer)
    with Snapshots(out) as snapshots:
        snapshots.save(state._replace(optimizer=huge), description)


def test_a_diverging_run_names_the_step_and_keeps_no_broken_snapshot(whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    with_exploding_moments(out, whole)
    with pytest.raises(JobError, match=r"diverged at step 2\d: .*newest snapshot, of step \d+, is kept") as raised:
        train_tokenizer(config(), frames(), out=out)
    with Snapshots(out) as snapshots:
        latest = snapshots.latest()
    assert latest is not None
    assert f"of step {latest}," in str(raised.value)
    assert np.isfinite(largest(restored_state(out, latest, config()).generator))


def test_too_little_disk_space_is_reported_before_any_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full = shutil._ntuple_diskusage(10**9, 10**9 - 1000, 1000)  # type: ignore[attr-defined]
    monkeypatch.setattr(shutil, "disk_usage", lambda path: full)
    with pytest.raises(StorageError, match="needs .* MB for snapshots, but the disk has 0 MB free"):
        train_tokenizer(config(), frames(), out=tmp_path / "deep" / "out")
    assert list(tmp_path.iterdir()) == []


def test_frames_and_devices_that_do_not_fit_are_rejected(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no frame to train on"):
        train_tokenizer(config(), frames()[:0], out=tmp_path / "out")
    with pytest.raises(ConfigError, match="crop.size is 8 pixels, but a frame has 4x24"):
        train_tokenizer(config(), frames()[:, :4], out=tmp_path / "out")
    with pytest.raises(ConfigError, match="devices is 16, but JAX finds 8"):
        train_tokenizer(config(devices=16, batch=16), frames(), out=tmp_path / "out")
    assert not (tmp_path / "out").exists()
