from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest

import longreel
from tests.support.vqgan.checkpoint_formats import FORMATS
from tests.support.vqgan.hostile_files import Calls
from tokenizer.checkpoints import checkpoint

pytestmark = pytest.mark.slow


def run(*arguments: str | Path) -> int:
    return longreel.main(["import-tokenizer", *map(str, arguments)])


def test_a_published_file_is_written_with_its_configuration(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    FORMATS["maskgit"][1](tmp_path / "published")
    out = tmp_path / "mine.safetensors"
    assert run(tmp_path / "published", "--out", out, "--frame-size", "512") == 0
    assert "maskgit-f4-48: 512 px, 128x128 codes of 48 x 16, found by distance" in capsys.readouterr().err
    config = checkpoint.load(out).config
    assert (config.frame_size, config.pixel_range, config.shortcut) == (512, "unsigned", "output")


def test_options_override_the_inferred_configuration(tmp_path: Path) -> None:
    FORMATS["taming"][1](tmp_path / "published")
    out = tmp_path / "mine.safetensors"
    assert run(tmp_path / "published", "--out", out, "--lookup", "product", "--name", "my-ibq") == 0
    config = checkpoint.load(out).config
    assert (config.name, config.lookup) == ("my-ibq", "product")


def test_a_rejected_file_leaves_no_output(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "p").write_bytes(pickle.dumps({"encoder": Calls(os.system, f"touch {tmp_path}/hacked")}))
    assert run(tmp_path / "p", "--out", tmp_path / "mine.safetensors") == 1
    assert "it is a pickle that calls 'posix.system'; it was not read" in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ["p"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--out", "mine.pt"], "--out must end in .safetensors, got mine.pt"),
        (["--out", "a.safetensors"], "--out is the input file"),
        (["--out", "b.safetensors", "--frame-size", "257"], "must be a multiple of 4 for 'taming-f4-48', got 257"),
    ],
)
def test_invalid_options_are_rejected(
    options: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    FORMATS["taming"][1](Path("a.safetensors"))
    assert run("a.safetensors", *options) == 1
    assert message in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ["a.safetensors"]
