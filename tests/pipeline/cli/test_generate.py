"""`longreel generate` continues what the workspace has with a model that `longreel train` made of it."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import av
import pytest
from PIL import Image

import longreel
from pipeline.cli.generate import Generate
from schemas.errors import ConfigError
from schemas.storage.location import Location, located
from tests.pipeline.cli.conftest import CONTEXT
from tests.support.servers.object_servers import ObjectServer
from tests.support.texts import story

pytestmark = pytest.mark.slow

MESH = ["--mesh.sequence", "4", "--mesh.data", "2"]
TRAIN = ["train", "--model.recipe", "debug", "--batch-size", "2", "--eval-every", "0", *MESH]


@pytest.fixture(scope="module")
def model(workspace: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model after two steps on the dataset of the workspace."""
    out = tmp_path_factory.mktemp("model") / "model"
    dataset = workspace / "packed" / str(CONTEXT)
    assert longreel.main([*TRAIN, "--out", str(out), "--dataset", str(dataset), "--steps", "2"]) == 0
    return out


def test_the_options_of_a_training_are_stored_with_the_model(model: Path, capfd: pytest.CaptureFixture[str]) -> None:
    stored = tomllib.loads((model / "train.toml").read_text())
    assert (stored["steps"], stored["model"]["recipe"], stored["mesh"]["sequence"]) == (2, "debug", 4)
    assert longreel.main(["train", "--config", str(model / "train.toml")]) == 0
    assert "nothing to do" in capfd.readouterr().err


@pytest.fixture
def copy(workspace: Path, s3: ObjectServer) -> Location:
    """A copy of the workspace in a bucket."""
    there = s3.bucket() / "ws"
    for place in located(workspace).walk():
        (there / place.relative_to(located(workspace))).write(place.read())
    return there


def _continue_a_video(model: Path, root: Path | Location, picture: Path) -> bytes:
    generate = ["generate", "--model", str(model), "--workspace", str(root), "--out", str(picture)]
    assert longreel.main([*generate, "--prompt-frames", "2", "--frames", "2"]) == 0
    return picture.read_bytes()


def test_a_video_is_continued_and_the_picture_has_three_rows(model: Path, workspace: Path, tmp_path: Path) -> None:
    _continue_a_video(model, workspace, tmp_path / "picture.png")
    with Image.open(tmp_path / "picture.png") as image:
        assert image.size[0] >= 4 * 128
        assert image.size[1] >= 3 * 128


@pytest.mark.campaign
def test_a_video_in_a_bucket_is_continued_alike(model: Path, workspace: Path, copy: Location, tmp_path: Path) -> None:
    local = _continue_a_video(model, workspace, tmp_path / "local.png")
    assert _continue_a_video(model, copy, tmp_path / "bucket.png") == local


def test_a_description_becomes_a_video_without_a_workspace(
    model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "boat.mp4"
    generate = ["generate", "--model", str(model), "--prompt", "a boat", "--out", str(out), "--frames", "2"]
    assert longreel.main([*generate, "--guidance", "5", "--negative-prompt", "a storm"]) == 0
    assert f"generate: {out}" in capfd.readouterr().err
    with av.open(str(out)) as container:
        assert [(f.width, f.height) for f in container.decode(video=0)] == [(128, 128)] * 2


def test_a_text_is_continued(model: Path, workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    generate = ["generate", "--model", str(model), "--workspace", str(workspace), "--text", "The clocks"]
    assert longreel.main([*generate, "--steps", "3"]) == 0
    printed = capsys.readouterr()
    assert printed.out.startswith("The clocks")
    assert "tokens/s" in printed.err
    assert "trained on contexts" not in printed.err
    assert longreel.main([*generate, "--steps", str(CONTEXT), "--temperature", "1e-40", "--stop", "e", "a", " "]) == 0
    assert f"trained on contexts of {CONTEXT}" in capsys.readouterr().err
    assert longreel.main([*generate, "--steps", str(1 << 20)]) == 1
    assert "max_positions is 1048576: use at most" in capsys.readouterr().err


def test_generate_and_eval_loss_read_a_bucket(
    model: Path, workspace: Path, copy: Location, capsys: pytest.CaptureFixture[str]
) -> None:
    told = []
    for root in (str(workspace), str(copy)):
        generate = ["generate", "--model", str(model), "--workspace", root, "--text", "The clocks", "--steps", "3"]
        assert longreel.main(generate) == 0
        loss = ["eval", "loss", "--model", str(model), "--dataset", f"{root}/packed/{CONTEXT}"]
        assert longreel.main(loss) == 0
        assert longreel.main([*loss, "--format", "json"]) == 0
        told.append(capsys.readouterr().out.replace(root, "ROOT"))
    assert told[0] == told[1]
    assert told[0].startswith("The clocks")
    measured = json.loads(told[0].splitlines()[-1])
    assert f"{measured['loss']:.4f} (" in told[0]


def test_commands_refuse_the_moving_average_of_a_run_that_has_none(
    model: Path, workspace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, dataset = ["--model", str(model)], str(workspace / "packed" / str(CONTEXT))
    for command in (
        ["generate", *run, "--workspace", str(workspace), "--text", "The clocks"],
        ["chat", *run, "--ask", "Who?"],
        ["eval", "loss", *run, "--dataset", dataset],
        ["export-model", str(model), "--out", str(tmp_path / "exported")],
    ):
        assert longreel.main([*command, "--weights", "ema"]) in (1, 2)
        assert "has no moving average of the parameters: train with --optimizer.ema-decay" in capsys.readouterr().err


def test_a_text_is_continued_without_the_workspace(
    model: Path, workspace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    generate = ["generate", "--text", "The clocks", "--steps", "3", "--temperature", "0", "--model"]
    assert longreel.main([*generate, str(model), "--workspace", str(workspace)]) == 0
    expected = capsys.readouterr().out
    assert longreel.main([*generate, str(model)]) == 0
    assert capsys.readouterr().out == expected
    (tmp_path / "checkpoints").symlink_to(model / "checkpoints")
    assert longreel.main([*generate, str(tmp_path)]) == 1
    assert "text_tokenizer is missing: give the workspace" in capsys.readouterr().err


def test_a_dataset_of_another_text_tokenizer_is_refused(
    model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in").mkdir()
    for n, split in enumerate(("train", "val")):
        (tmp_path / "in" / f"{split}.txt").write_text(story(n, 30))
    more = tmp_path / "text.model"
    books = str(tmp_path / "in")
    assert longreel.main(["train-text-tokenizer", books, "--out", str(more), "--vocab-size", "600"]) == 0
    other = tmp_path / "other"
    run = ["run", books, "--out", str(other), "--context", str(CONTEXT), "--text-tokenizer", str(more), "--units", "2"]
    assert longreel.main([*run, "--select.val-fraction", "0"]) == 0
    dataset = other / "packed" / str(CONTEXT)
    assert longreel.main([*TRAIN, "--out", str(model), "--dataset", str(dataset), "--steps", "4"]) == 1
    printed = capfd.readouterr().err
    assert "text_sha256" in printed
    assert "different tokenizers" in printed
    assert tomllib.loads((model / "train.toml").read_text())["steps"] == 2  # of what ran, not of what was refused


def test_a_video_needs_a_file_to_write(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--workspace"):
        Generate(model=located(tmp_path), out=tmp_path / "picture.png")(())
    with pytest.raises(ConfigError, match="--out"):
        Generate(model=located(tmp_path), workspace=located(tmp_path))(())
    with pytest.raises(ConfigError, match="either --prompt, --text or --video"):
        Generate(model=located(tmp_path), text="The clocks", prompt="a boat", out=tmp_path / "picture.png")(())
    with pytest.raises(ConfigError, match="frames must be at least 1, got 0"):
        Generate(model=located(tmp_path), workspace=located(tmp_path), frames=0)
