"""Generated videos are compared with real ones, and with what the tokenizer alone loses."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.tokenizer_jobs.compare_videos import EvalVideos, distances
from schemas.errors import ConfigError
from tests.support.inputs.media import make_video
from tests.support.vqgan.tiny_vqgan import tiny_weights
from tokenizer.checkpoints import checkpoint

pytestmark = pytest.mark.slow

REAL, FRAMES = 7, 4


def _scene(seed: int, *, gray: bool) -> Callable[[int], NDArray[np.uint8]]:
    """Patches that move; those that are gray stand for poor generated videos."""
    patches = np.random.default_rng(seed).integers(0, 256, (4, 4, 3))
    patches = np.broadcast_to(patches[..., :1], patches.shape) if gray else patches

    def picture(i: int) -> NDArray[np.uint8]:
        frame: NDArray[np.uint8] = np.roll(patches, i, 1).astype(np.uint8).repeat(8, 0).repeat(8, 1)
        return frame

    return picture


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("videos")
    for name, count, gray in (("real", REAL, False), ("good", 3, False), ("gray", 3, True)):
        (folder / name).mkdir()
        for n in range(count):
            seed = n + 100 * len(name) * (name != "real")
            make_video(folder / name / f"{n}.mp4", frames=9, rate=4, picture=_scene(seed, gray=gray))
    make_video(folder / "real" / "short.mp4", frames=2, rate=4)
    checkpoint.save(folder / "tiny.safetensors", tiny_weights())
    return folder


def _compared(folder: Path, name: str, out: Path) -> dict[str, dict[str, dict[str, float]]]:
    options = {"vision": str(folder / "tiny.safetensors"), "frames": FRAMES, "clips": 2}
    EvalVideos(generated=(str(folder / name),), real=(str(folder / "real"),), out=out, **options)(())  # type: ignore[arg-type]
    record = json.loads((out / "distances.json").read_text())
    assert record["videos"] == {"generated": 3, "real": REAL}
    assert record["clips"] == {"generated": 6, "real": 2 * REAL}
    assert [Path(uri).name for uri in record["excluded"]] == ["short.mp4"]
    assert 0 < record["reconstruction"]["psnr"]["value"] < 30
    found: dict[str, dict[str, dict[str, float]]] = record["distances"]
    return found


def test_poor_videos_are_farther_from_real_ones_than_those_like_them(folder: Path, tmp_path: Path) -> None:
    good, gray = (_compared(folder, name, tmp_path / name) for name in ("good", "gray"))
    assert list(good) == ["generated", "reconstructed", "real"]
    assert gray["real"] == good["real"]
    assert gray["generated"]["color"]["value"] > 1.2 * good["generated"]["color"]["value"]
    for row in good.values():
        assert list(row) == ["color", "motion", "latents"]
        assert all(one["low"] <= one["value"] <= one["high"] for one in row.values())
    table = (tmp_path / "gray" / "distances.md").read_text()
    assert "| generated |" in table
    assert "Neither FID nor FVD" in table
    assert "Too few clips for color" in table


def test_the_halves_of_real_videos_are_compared_with_each_other() -> None:
    rng = np.random.default_rng(0)
    real = [{"color": rng.normal(size=(3, 2))} for _ in range(8)]
    moved = [{"color": video["color"] + 3} for video in real]
    found = distances(real, real, moved)
    assert found["reconstructed"]["color"].value - found["real"]["color"].value == pytest.approx(18, rel=0.6)
    assert found["generated"]["color"].value < found["real"]["color"].value


@pytest.mark.parametrize("options", [{"frames": 2}, {"clips": 0}])
def test_clips_without_motion_are_refused(tmp_path: Path, options: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match="frames must be at least 3 and clips at least 1"):
        EvalVideos(generated=("a",), real=("b",), out=tmp_path, **options)  # type: ignore[arg-type]


def test_too_few_videos_are_refused(folder: Path, tmp_path: Path) -> None:
    one = (str(folder / "good" / "0.mp4"),)
    with pytest.raises(ConfigError, match="at least 3 generated and 6 real videos, got 1 and 1"):
        EvalVideos(generated=one, real=one, out=tmp_path / "o", vision=str(folder / "tiny.safetensors"), frames=4)(())
