"""Kills a curriculum at random moments; when it is resumed, every stage has the same parameters, bit for bit.

`make faults` runs it.
"""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path
from typing import IO

import numpy as np
import psutil
import pytest

from tests.faults.outcomes import Outcomes
from tests.support.curricula import tokenized_workspace, write_curriculum
from tests.support.training.runs import computed_rows, final_state, run_environment

pytestmark = [pytest.mark.slow, pytest.mark.faults]

_CONTEXTS, _STEPS, _KILLS = (64, 128, 256), 30, 10
_END_S = 60


def test_a_curriculum_that_is_killed_ten_times_trains_the_same(tmp_path: Path, results: list[Outcomes]) -> None:
    outcomes = Outcomes("kill of a curriculum of three stages")
    write_curriculum(tmp_path / "c.toml", contexts=_CONTEXTS, steps=_STEPS, every=3)
    tokenized_workspace(tmp_path / "ws")
    started = time.monotonic()
    subprocess.run(_command(tmp_path, "straight"), env=run_environment(), check=True)
    whole_s, draw = time.monotonic() - started, random.Random(0)
    for n in range(_KILLS):
        moment = draw.uniform(0.05, 0.6) * whole_s
        with (tmp_path / "said.txt").open("w+") as said:
            problem = _start_and_kill(_command(tmp_path, "killed"), after_s=moment, draw=draw, said=said)
        outcomes.wrong += [f"kill {n}: {problem}"] if problem else []
        outcomes.named += not problem
    done = subprocess.run(
        _command(tmp_path, "killed"), env=run_environment(), capture_output=True, text=True, check=False
    )
    if done.returncode:
        outcomes.wrong.append(f"exit code {done.returncode}: {done.stderr[-2000:]}")
    else:
        outcomes.wrong += [f"stage {name} differs" for name in map(str, _CONTEXTS) if not _same(tmp_path, name)]
    results.append(outcomes)
    assert outcomes.wrong == []


def _command(folder: Path, out: str) -> list[str]:
    places = ["--workspace", str(folder / "ws"), "--out", str(folder / out), "--devices", "1"]
    return [sys.executable, "-P", "-m", "longreel", "train", "--curriculum", str(folder / "c.toml"), *places]


def _start_and_kill(command: list[str], *, after_s: float, draw: random.Random, said: IO[str]) -> str:
    """Start a curriculum, kill the command or the trainer; return what is wrong with how they end."""
    process = subprocess.Popen(command, env=run_environment(), stderr=said, stdout=subprocess.DEVNULL)
    time.sleep(after_s)
    if process.poll() is not None:
        said.seek(0)
        return (
            f"it ended before with exit code {process.returncode}: {said.read()[-1000:]}" if process.returncode else ""
        )
    family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    draw.choice(family).kill()
    _, alive = psutil.wait_procs(family, timeout=_END_S)
    for one in alive:
        one.kill()
    process.wait()
    return f"processes {alive} did not end" if alive else ""


def _same(folder: Path, stage: str) -> bool:
    straight, killed = folder / "straight" / stage, folder / "killed" / stage
    ours, theirs = final_state(killed), final_state(straight)
    equal = ours.keys() == theirs.keys() and all(np.array_equal(ours[name], theirs[name]) for name in theirs)
    return equal and computed_rows(killed) == computed_rows(straight)
