"""Evaluation of a tokenizer on videos: measures, outputs, and exclusion of the training set."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from numpy.typing import NDArray
from PIL import Image

from pipeline.tokenizer_jobs.evaluate import EvalTokenizer
from pipeline.tokenizer_jobs.training_set import signature_of, training_table, write_training_table
from pipeline.video.decoder import DecodeConfig, Decoder
from schemas.errors import ConfigError
from tests.support.inputs.media import make_video
from tests.support.vqgan.tiny_vqgan import tiny_weights
from tests.support.vqgan.vgg import narrow_vgg
from tokenizer.checkpoints import checkpoint

pytestmark = pytest.mark.slow


def scene(seed: int) -> Callable[[int], NDArray[np.uint8]]:
    """Patches of color that move and change, different for each seed."""
    rng = np.random.default_rng(seed)
    patches, change = rng.integers(0, 256, (2, 12, 16, 3))

    def picture(i: int) -> NDArray[np.uint8]:
        mixed = patches + (change - patches) * (0.5 - 0.5 * np.cos(i / 15))
        return np.kron(np.roll(mixed, i // 8, 1).astype(np.uint8), np.ones((8, 8, 1), np.uint8))

    return picture


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three videos, and a smaller encoding of a part of the first."""
    folder = tmp_path_factory.mktemp("videos")
    for name, seed in (("first.mp4", 1), ("second.mp4", 2), ("third.mp4", 3)):
        make_video(folder / name, frames=120, picture=scene(seed))
    whole = scene(1)
    make_video(folder / "part.mkv", frames=80, picture=lambda i: whole(i + 25)[::2, ::2])
    (folder / "broken.mp4").write_bytes(b"no video at all")
    return folder


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory, videos: Path) -> Path:
    """A tiny tokenizer whose table lists the first video as its training set."""
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    checkpoint.save(path, tiny_weights())
    with Decoder(DecodeConfig(size=16)) as decoder:
        write_training_table(training_table(path), [("first.mp4", signature_of(decoder, videos / "first.mp4"))])
    return path


def test_videos_of_the_training_set_and_their_copies_are_excluded(videos: Path, weights: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    EvalTokenizer(inputs=(str(videos),), out=out, vision=str(weights), max_frames=20)(())
    record = json.loads((out / "evaluation.json").read_text())
    excluded = {Path(uri).name: why for uri, why in record["excluded"].items()}
    assert excluded.keys() == {"first.mp4", "part.mkv", "broken.mp4"}
    assert excluded["first.mp4"] == "in the training set, as first.mp4"
    assert excluded["part.mkv"].endswith("of it is in the training set, in first.mp4")
    assert {Path(uri).name for uri in record["videos"]} == {"second.mp4", "third.mp4"}
    assert record["training_set_known"]
    assert record["all"]["frames"] == sum(video["frames"] for video in record["videos"].values())
    assert all(0 < video["frames"] <= 24 for video in record["videos"].values())
    for video in record["videos"].values():
        estimate = video["tokens"]["psnr"]
        assert estimate["low"] <= estimate["value"] <= estimate["high"]
        assert video["baselines"].keys() == {"jpeg", "webp"}
        assert all("ssim" in found for found in video["baselines"].values())
    table = (out / "evaluation.md").read_text()
    assert "second.mp4" in table
    assert f"{record['all']['tokens']['psnr']['value']:.2f}" in table
    with Image.open(out / "pictures.png") as picture:
        assert picture.height == 2 * 4 * (16 + 2 + 14)  # two videos: frames, tokens, and two baselines


def test_an_evaluation_is_reproducible_to_the_byte(videos: Path, weights: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        EvalTokenizer(inputs=(str(videos / "second.mp4"),), out=tmp_path / name, vision=str(weights), baselines=())(())
    for name in ("evaluation.json", "evaluation.md", "pictures.png"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_items_of_the_split_train_are_excluded_and_the_perceptual_distance_is_measured(
    videos: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vgg_file = tmp_path / "vgg.safetensors"
    tensors = {name: np.asarray(array) for name, array in narrow_vgg(monkeypatch).items()}
    safetensors.numpy.save_file(tensors, vgg_file)
    manifest = tmp_path / "manifest.jsonl"
    rows = [("second.mp4", "train"), ("third.mp4", "val")]
    lines = (json.dumps({"uri": str(videos / name), "kind": "video", "split": split}) for name, split in rows)
    manifest.write_text("\n".join(lines))
    EvalTokenizer(inputs=(str(manifest),), out=tmp_path / "out", vision=str(weights), perceptual=vgg_file)(())
    record = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert [Path(uri).name for uri in record["videos"]] == ["third.mp4"]
    found = [record["all"]["tokens"], *record["all"]["baselines"].values()]
    assert all(0 < codec["distance"]["value"] < 4 for codec in found)
    assert "perceptual distance" in (tmp_path / "out" / "evaluation.md").read_text()


def test_two_files_with_the_same_name_have_a_row_and_a_picture_each(
    videos: Path, weights: Path, tmp_path: Path
) -> None:
    for folder in ("one", "other"):
        (tmp_path / folder).mkdir()
        shutil.copy(videos / "second.mp4", tmp_path / folder)
    bare = shutil.copy(weights, tmp_path / "bare.safetensors")
    given = tuple(str(tmp_path / folder) for folder in ("one", "other"))
    EvalTokenizer(inputs=given, out=tmp_path / "out", vision=str(bare), baselines=())(())
    told = (tmp_path / "out" / "evaluation.md").read_text()
    assert "one/second.mp4" in told
    assert "other/second.mp4" in told


def test_weights_without_a_table_are_evaluated_with_a_warning(
    videos: Path, weights: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    bare = shutil.copy(weights, tmp_path / "bare.safetensors")
    EvalTokenizer(inputs=(str(videos / "first.mp4"),), out=tmp_path / "out", vision=str(bare), baselines=())(())
    assert "items of the training set are not excluded" in capfd.readouterr().err.replace("\n", " ")
    assert not json.loads((tmp_path / "out" / "evaluation.json").read_text())["training_set_known"]


def test_invalid_inputs_and_options_are_rejected(videos: Path, weights: Path, tmp_path: Path) -> None:
    def evaluate(name: str, **options: object) -> None:
        EvalTokenizer(inputs=(str(videos / name),), out=tmp_path / "out", vision=str(weights), **options)(())  # type: ignore[arg-type]

    with pytest.raises(ConfigError, match="nothing to evaluate: 1 item given, all excluded"):
        evaluate("first.mp4")
    with pytest.raises(ConfigError, match="max-frames must be at least 1, got 0"):
        evaluate("second.mp4", max_frames=0)
    with pytest.raises(ConfigError, match="baselines must be among jpeg, webp, got avif"):
        evaluate("second.mp4", baselines=("avif",))
    assert not (tmp_path / "out").exists()
