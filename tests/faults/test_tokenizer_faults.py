"""Kills `train-tokenizer`, and lets it, the import of a VQGAN and the training of a text tokenizer run out of space.

The same command then makes the same weights. `make faults` runs this.
"""

from __future__ import annotations

import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.faults.outcomes import Outcomes
from tests.faults.test_full_disk import SIZES
from tests.faults.test_kills import kill_after
from tests.support.inputs.media import make_video
from tests.support.servers.command_server import CommandServer
from tests.support.texts import story
from tokenizer.training.train import WEIGHTS
from tokenizer.weights_file import weights_file

pytestmark = [pytest.mark.slow, pytest.mark.faults]

_KILLS = 10
_LIMITED = """
import resource, sys
from tests.support.vqgan.tiny_command import main
if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]),) * 2)
    sys.exit(main(sys.argv[2:]))
"""


@pytest.fixture(scope="module")
def commands(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CommandServer]:
    """Processes that a test may kill."""
    folder = tmp_path_factory.mktemp("commands")
    modules = ("pipeline.tokenizer_jobs.train", "pipeline.cli.tokenizers", "tokenizer.training.train")
    server = CommandServer(folder / "stderr", main="tests.support.vqgan.tiny_command:main", modules=modules)
    yield server
    server.close()


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two videos and two books."""
    folder = tmp_path_factory.mktemp("inputs")
    for n in range(2):
        make_video(folder / f"{n}.mp4", frames=30)
        (folder / f"book{n}.txt").write_text(story(n, 40))
    return folder


def training(inputs: Path, out: Path) -> list[str]:
    """Return a command that trains a tiny VQGAN for some seconds."""
    model = ["--architecture", "dot", "--crop.size", "8", "--batch", "2", "--devices", "1"]
    steps = ["--steps", "120", "--save-every", "20", "--warmup-steps", "2"]
    shape = ["--decode.size", "48", "--decode.fps", "5", "--discriminator.weight", "0"]
    return ["train-tokenizer", str(inputs), "--out", str(out), *model, *steps, *shape]


def test_a_training_that_is_killed_is_completed_by_the_same_command(
    inputs: Path, tmp_path: Path, commands: CommandServer, results: list[Outcomes]
) -> None:
    outcomes = Outcomes("kill of train-tokenizer")
    results.append(outcomes)
    started = time.monotonic()
    assert commands.run(training(inputs, tmp_path / "straight")) == 0, commands.stderr.read_text()[-2000:]
    took, expected = time.monotonic() - started, (tmp_path / "straight" / WEIGHTS).read_bytes()
    for kill in range(_KILLS):
        out = tmp_path / str(kill)
        code = commands.run(training(inputs, out), partial(kill_after, took * (kill + 0.5) / _KILLS))
        again = commands.run(training(inputs, out))
        if again or (out / WEIGHTS).read_bytes() != expected:
            outcomes.wrong.append(f"kill {kill + 1} of {_KILLS} in {took:.1f} s: then exit code {again}")
        else:
            outcomes.named += code == -signal.SIGKILL
            outcomes.unchanged += code == 0  # it was faster
    assert outcomes.wrong == [], commands.stderr.read_text()[-4000:]


@pytest.mark.parametrize("name", ["train-tokenizer", "import-tokenizer", "train-text-tokenizer"])
def test_a_tokenizer_that_finds_no_space_says_so_and_is_made_later(
    inputs: Path, tmp_path: Path, results: list[Outcomes], name: str
) -> None:
    outcomes = Outcomes(f"full disk in {name}")
    results.append(outcomes)
    expected, said = _made(name, inputs, tmp_path / "straight")
    assert isinstance(expected, bytes), said
    for size in SIZES[::2]:
        out = tmp_path / str(size)
        code, said = _made(name, inputs, out, file_size=size)
        is_told = code == 1 and "Finished work is kept" in said and "Traceback" not in said
        is_made = _made(name, inputs, out)[0] == expected
        outcomes.named += is_told and is_made
        outcomes.unchanged += code == expected and is_made
        if not is_made or not (is_told or code == expected):
            outcomes.wrong.append(f"{size} bytes: {code!r:.80}, made later: {is_made}: {said[-500:]}")
    assert outcomes.wrong == []


def _made(name: str, inputs: Path, out: Path, *, file_size: int = resource.RLIM_INFINITY) -> tuple[bytes | int, str]:
    """Run a command; return the bytes of the tokenizer that it makes, or its exit code, and what it prints."""
    made, arguments = {
        "train-tokenizer": (out / WEIGHTS, training(inputs, out)),
        "import-tokenizer": (
            out / "imported.safetensors",
            [name, str(weights_file("small-128")), "--out", str(out / "imported.safetensors"), "--name", "mine"],
        ),
        "train-text-tokenizer": (
            out / "text.model",
            [name, str(inputs), "--out", str(out / "text.model"), "--vocab-size", "600"],
        ),
    }[name]
    command = [sys.executable, "-c", _LIMITED, str(file_size), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    return made.read_bytes() if done.returncode == 0 else done.returncode, done.stderr
