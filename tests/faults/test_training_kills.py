"""Kills runs of one, two and four processes at random moments; a resumed run computes the same, bit for bit.

`make campaigns` kills a run once, `make faults` many times. `make test` kills one, and one that saves, in
tests/trainer/run/.
"""

from __future__ import annotations

import contextlib
import random
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import psutil
import pytest

from schemas.runs.metrics import METRICS, read_metrics
from tests.faults.outcomes import Outcomes
from tests.support.stalls import Watched
from tests.support.training.runs import computed_rows, final_state, losses, run_environment, train_command
from tests.support.training.training_dataset import write_dataset
from trainer.run.group.distributed import PROCESS_ID

pytestmark = pytest.mark.slow

_STEPS, _EVERY = 40, 3
_END_S = 60  # how soon all processes must have ended after one was killed

During = Literal["start", "steps", "checkpoint"]


@dataclass(frozen=True)
class Kill:
    """A moment: `delay_s` after the process started, made some more steps, or began to write a checkpoint."""

    during: During
    delay_s: float
    steps: int = 0

    def wait(self, out: Path, *, started: float, resumed: int, process: Watched) -> bool:
        """Wait for the moment; return False if the process ends before it. Raises Stalled."""
        reached = process.wait_until(lambda: self._is_reached(out, started, resumed))
        time.sleep(self.delay_s)
        return reached and process.popen.poll() is None

    def _is_reached(self, out: Path, started: float, resumed: int) -> bool:
        if self.during == "start":
            return True
        if self.during == "steps":
            metrics = out / METRICS
            rows = read_metrics(metrics) if metrics.exists() and metrics.stat().st_mtime > started else []
            return bool(rows) and rows[-1]["step"] >= resumed + self.steps
        unfinished = (out / "checkpoints").glob("*orbax-checkpoint-tmp*")
        with contextlib.suppress(FileNotFoundError):  # it has its final name now
            return any(path.stat().st_mtime > started for path in unfinished)
        return False


def _kills(count: int, *, seed: int) -> Iterator[Kill]:
    draw = random.Random(seed)
    for n in range(count):
        if n % 5 == 0:
            yield Kill("start", draw.uniform(0, 8))
        elif n % 5 in (1, 3):
            yield Kill("steps", draw.uniform(0, 0.1), steps=draw.randint(1, 2 * _EVERY))
        else:
            yield Kill("checkpoint", draw.uniform(0, 0.15))


@pytest.mark.campaign
def test_a_run_that_is_killed_while_it_writes_a_checkpoint_computes_the_same(tmp_path: Path) -> None:
    assert _campaign(tmp_path, [Kill("checkpoint", 0.02)], processes=1, seed=0, steps=8).wrong == []


@pytest.mark.faults
@pytest.mark.parametrize("processes", [1, 2])
def test_a_run_that_is_killed_ten_times_computes_the_same(
    tmp_path: Path, results: list[Outcomes], processes: int
) -> None:
    kills = list(_kills(10, seed=processes))
    results.append(_campaign(tmp_path, kills, processes=processes, seed=processes))
    assert results[-1].wrong == []


@pytest.mark.faults
@pytest.mark.parametrize(("processes", "devices"), [(2, 4), (4, 2)])
def test_processes_give_the_losses_of_one_end_when_one_is_killed_and_resume(
    tmp_path: Path, results: list[Outcomes], processes: int, devices: int
) -> None:
    dataset, alone = write_dataset(tmp_path / "set", context=128, train=10, val=2), tmp_path / "alone"
    assert _finish(_command(dataset, alone, processes=1, devices=8, steps=12), devices=8) == ""
    kill = Kill("steps", 0.2, steps=4)
    campaign = _campaign(tmp_path, [kill], processes=processes, devices=devices, steps=12, seed=processes)
    results.append(campaign)
    assert campaign.wrong == []
    assert losses(tmp_path / "killed") == pytest.approx(losses(alone), abs=1e-6)


def _command(dataset: Path, out: Path, *, processes: int, devices: int, steps: int) -> list[str]:
    local = ["--local-processes", str(processes)] if processes > 1 else []
    return train_command(dataset, out, *local, devices=devices, steps=steps, checkpoint_every=_EVERY, eval_every=10)


def _environment(devices: int) -> dict[str, str]:
    """Return the environment of a run. Programs of several CPU devices can deadlock when they come from JAX's cache."""
    return run_environment(JAX_ENABLE_COMPILATION_CACHE="false" if devices > 1 else "true")


def _finish(command: list[str], *, devices: int) -> str:
    """Run a command to its end; return what is wrong with it."""
    with Watched(command, _environment(devices)) as run:
        code = run.finish()
        return f"exit code {code}: {run.said[-2000:]}" if code else ""


def _campaign(
    folder: Path, kills: list[Kill], *, processes: int, seed: int, devices: int = 1, steps: int = _STEPS
) -> Outcomes:
    """Kill one run again and again, and compare it in the end with a run that was not killed."""
    outcomes = Outcomes(f"kill of training, {processes} x {devices} devices")
    dataset = write_dataset(folder / "set", context=128, train=10, val=2)
    straight, killed = folder / "straight", folder / "killed"
    command = partial(_command, dataset, processes=processes, devices=devices, steps=steps)
    assert _finish(command(straight), devices=devices) == ""
    draw = random.Random(seed)
    for kill in kills:
        problem = _start_and_kill(command(killed), killed, kill, draw, devices=devices)
        if problem:
            outcomes.wrong.append(f"{kill}: {problem}")
        outcomes.named += not problem
    if problem := _finish(command(killed), devices=devices):
        outcomes.wrong.append(problem)
    elif computed_rows(killed) != computed_rows(straight):
        outcomes.wrong.append("the rows of the metrics differ from those of a run that was not killed")
    else:
        ours, theirs = final_state(killed), final_state(straight)
        same = ours.keys() == theirs.keys() and all(np.array_equal(ours[name], theirs[name]) for name in theirs)
        outcomes.wrong += [] if same else ["the final state differs from that of a run that was not killed"]
    return outcomes


def _start_and_kill(command: list[str], out: Path, kill: Kill, draw: random.Random, *, devices: int) -> str:
    """Start a run, kill one of its processes by SIGKILL; return what is wrong with how it ends."""
    numbers = (int(path.name) for path in (out / "checkpoints").glob("*") if path.name.isdecimal())
    resumed, started = max(numbers, default=0), time.time()
    with Watched(command, _environment(devices)) as run:
        if not kill.wait(out, started=started, resumed=resumed, process=run):
            return f"it ended before with exit code {run.popen.returncode}: {run.said[-1000:]}"
        everything = run.tree()
        victim = draw.choice([p for p in everything if PROCESS_ID in p.environ()] or everything)
        victim.send_signal(signal.SIGKILL)
        _, alive = psutil.wait_procs(everything, timeout=_END_S)
        if alive:
            return f"processes {alive} did not end within {_END_S} s after a process was killed: {run.said[-1000:]}"
        if victim.pid != run.popen.pid and "was killed by signal 9; the others were ended" not in run.said:
            return f"it does not say that a process was killed: {run.said[-1000:]}"
        return ""
