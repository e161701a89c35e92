"""The evaluation of a tokenizer on videos: what is measured, written, and left out because it was trained on."""

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
from pipeline.tokenizer_jobs.training_set import TrainedOn, beside, read_trained_on, signature_of, write_trained_on
from pipeline.video.decoder import DecodeConfig, Decoder
from schemas.errors import ConfigError, DatasetError
from tests.support.media import make_video
from tests.support.tiny_vqgan import tiny_weights
from tests.support.vgg import narrow_vgg
from tokenizer.checkpoints import checkpoint

pytestmark = pytest.mark.slow


def scene(seed: int) -> Callable[[int], NDArray[np.uint8]]:
    """Patches of color that drift and change, like no other scene's."""
    rng = np.random.default_rng(seed)
    patches, change = rng.integers(0, 256, (2, 12, 16, 3))

    def picture(i: int) -> NDArray[np.uint8]:
        mixed = patches + (change - patches) * (0.5 - 0.5 * np.cos(i / 15))
        return np.kron(np.roll(mixed, i // 8, 1).astype(np.uint8), np.ones((8, 8, 1), np.uint8))

    return picture


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three videos, and one that is a smaller, later encoding of a part of the first."""
    folder = tmp_path_factory.mktemp("videos")
    for name, seed in (("first.mp4", 1), ("second.mp4", 2), ("third.mp4", 3)):
        make_video(folder / name, frames=120, picture=scene(seed))
    whole = scene(1)
    make_video(folder / "part.mkv", frames=80, picture=lambda i: whole(i + 25)[::2, ::2])
    (folder / "broken.mp4").write_bytes(b"no video at all")
    return folder


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory, videos: Path) -> Path:
    """A tiny tokenizer that was trained, so its table says, on the first video."""
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    checkpoint.save(path, tiny_weights())
    with Decoder(DecodeConfig(size=16)) as decoder:
        write_trained_on(beside(path), [("first.mp4", signature_of(decoder, videos / "first.mp4"))])
    return path


def test_videos_that_were_trained_on_or_are_copies_are_left_out(videos: Path, weights: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    EvalTokenizer(inputs=(str(videos),), out=out, vision=str(weights), max_frames=20)(())
    record = json.loads((out / "evaluation.json").read_text())
    left_out = {Path(uri).name: why for uri, why in record["left_out"].items()}
    assert left_out.keys() == {"first.mp4", "part.mkv", "broken.mp4"}
    assert left_out["first.mp4"] == "was trained on, as first.mp4"
    assert left_out["part.mkv"].endswith("of it was trained on, in first.mp4")
    assert {Path(uri).name for uri in record["videos"]} == {"second.mp4", "third.mp4"}
    assert record["knows_what_it_was_trained_on"]
    assert record["all"]["frames"] == sum(video["frames"] for video in record["videos"].values())
    assert all(0 < video["frames"] <= 24 for video in record["videos"].values())
    for video in record["videos"].values():
        estimate = video["tokens"]["psnr"]
        assert estimate["low"] <= estimate["value"] <= estimate["high"]
        assert video["rivals"].keys() == {"jpeg", "webp"}
        assert all("ssim" in found for found in video["rivals"].values())
    table = (out / "evaluation.md").read_text()
    assert "second.mp4" in table
    assert f"{record['all']['tokens']['psnr']['value']:.2f}" in table
    with Image.open(out / "pictures.png") as picture:
        assert picture.height == 2 * 4 * (16 + 2 + 14)  # two videos: frames, tokens, and two rivals


def test_a_second_evaluation_writes_the_same_bytes(videos: Path, weights: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        EvalTokenizer(inputs=(str(videos / "second.mp4"),), out=tmp_path / name, vision=str(weights), rivals=())(())
    for name in ("evaluation.json", "evaluation.md", "pictures.png"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_the_split_train_of_a_manifest_is_left_out_and_a_distance_is_measured(
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
    found = [record["all"]["tokens"], *record["all"]["rivals"].values()]
    assert all(0 < codec["distance"]["value"] < 4 for codec in found)
    assert "perceptual distance" in (tmp_path / "out" / "evaluation.md").read_text()


def test_two_files_of_one_name_have_a_line_and_a_picture_each(videos: Path, weights: Path, tmp_path: Path) -> None:
    for folder in ("one", "other"):
        (tmp_path / folder).mkdir()
        shutil.copy(videos / "second.mp4", tmp_path / folder)
    bare = shutil.copy(weights, tmp_path / "bare.safetensors")
    given = tuple(str(tmp_path / folder) for folder in ("one", "other"))
    EvalTokenizer(inputs=given, out=tmp_path / "out", vision=str(bare), rivals=())(())
    told = (tmp_path / "out" / "evaluation.md").read_text()
    assert "one/second.mp4" in told
    assert "other/second.mp4" in told


def test_weights_without_a_table_are_evaluated_and_that_is_said(
    videos: Path, weights: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    bare = shutil.copy(weights, tmp_path / "bare.safetensors")
    EvalTokenizer(inputs=(str(videos / "first.mp4"),), out=tmp_path / "out", vision=str(bare), rivals=())(())
    assert "nobody can say what they were trained on" in capfd.readouterr().err.replace("\n", " ")
    assert not json.loads((tmp_path / "out" / "evaluation.json").read_text())["knows_what_it_was_trained_on"]


def test_what_cannot_be_evaluated_is_a_clear_error(videos: Path, weights: Path, tmp_path: Path) -> None:
    def evaluate(name: str, **options: object) -> None:
        EvalTokenizer(inputs=(str(videos / name),), out=tmp_path / "out", vision=str(weights), **options)(())  # type: ignore[arg-type]

    with pytest.raises(ConfigError, match="nothing to evaluate on: all of 1 items were left out"):
        evaluate("first.mp4")
    with pytest.raises(ConfigError, match="max-frames must be at least 1, got 0"):
        evaluate("second.mp4", max_frames=0)
    with pytest.raises(ConfigError, match="rivals must be among jpeg, webp, got avif"):
        evaluate("second.mp4", rivals=("avif",))
    assert not (tmp_path / "out").exists()


def test_a_table_of_what_was_trained_on_comes_back(videos: Path, tmp_path: Path) -> None:
    with Decoder(DecodeConfig(size=16)) as decoder:
        given = [(name, signature_of(decoder, videos / name)) for name in ("first.mp4", "second.mp4")]
        third = signature_of(decoder, videos / "third.mp4")
    write_trained_on(tmp_path / "table.parquet", given)
    found = read_trained_on(tmp_path / "table.parquet")
    assert [(uri, s.content_id, s.samples) for uri, s in found] == [(uri, s.content_id, s.samples) for uri, s in given]
    known = TrainedOn(found)
    assert known.shared(given[1][1]) == "was trained on, as second.mp4"
    assert known.shared(third) is None
    assert TrainedOn([]).shared(third) is None
    (tmp_path / "other.parquet").write_bytes(b"PAR1")
    with pytest.raises(DatasetError, match="not a table of what was trained on"):
        read_trained_on(tmp_path / "other.parquet")
