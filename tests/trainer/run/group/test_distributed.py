"""Runs of several processes through the public command."""

from __future__ import annotations

import dataclasses
import signal
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path

import psutil
import pytest

import longreel
from schemas.errors import ConfigError
from schemas.runs.metrics import read_metrics
from schemas.storage.location import located
from tests.support.training.runs import losses, run_environment, train_command
from tests.support.training.training_dataset import write_dataset
from trainer.data.mixture import WeightedDataset
from trainer.run.config import Cadence, TrainConfig
from trainer.run.group.distributed import COORDINATOR, PROCESS_ID, PROCESSES, Distributed, group_of
from trainer.run.group.launcher import free_port
from trainer.run.group.rendezvous import Group
from trainer.run.loop import train
from trainer.run.model_options import ModelOptions
from trainer.run.optimizer import OptimizerConfig

S = 128
OPEN_MPI = {"OMPI_COMM_WORLD_RANK": "3", "OMPI_COMM_WORLD_SIZE": "4"}  # of version 5


@pytest.mark.parametrize(
    ("config", "variables", "expected"),
    [
        (Distributed(distributed=True), {}, None),
        (Distributed(distributed=True, coordinator="h:1", processes=2, process_id=1), {}, Group("h:1", 2, 1)),
        (Distributed(), {COORDINATOR: "[::1]:80", PROCESSES: "4", PROCESS_ID: "3"}, Group("[::1]:80", 4, 3)),
        (Distributed(distributed=True, process_id=0), {COORDINATOR: "h:1", PROCESSES: "2"}, Group("h:1", 2, 0)),
        (Distributed(distributed=True), {"JOB_COMPLETION_INDEX": "1"}, None),
        (
            Distributed(distributed=True, processes=2),
            {"JOB_COMPLETION_INDEX": "1", COORDINATOR: "h:1"},
            Group("h:1", 2, 1),
        ),
        (Distributed(coordinator="h:1", distributed=True), {"PMI_RANK": "3", "PMI_SIZE": "4"}, Group("h:1", 4, 3)),
        (Distributed(), {**OPEN_MPI, COORDINATOR: "h:1", PROCESSES: "2", PROCESS_ID: "0"}, Group("h:1", 2, 0)),
    ],
)
def test_the_group_comes_from_options_or_the_environment(
    config: Distributed, variables: dict[str, str], expected: Group | None
) -> None:
    assert group_of(config, variables) == expected


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"coordinator": "h:1"}, "--processes, --process-id must be given"),
        ({"coordinator": "h", "processes": 2, "process_id": 0}, "HOST:PORT, got 'h'"),
        ({"coordinator": "h:x", "processes": 2, "process_id": 0}, "HOST:PORT"),
        ({"coordinator": "h:1", "processes": 2, "process_id": 2}, r"less than processes \(2\), got 2"),
        ({"processes": 0}, "processes must be at least 1"),
        ({"process_id": -1}, "process_id must not be negative"),
        ({"distributed": False, "processes": 2}, "need --distributed"),
        ({"local_processes": 2}, "either --distributed or --local-processes"),
    ],
)
def test_inconsistent_options_are_rejected(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        group_of(Distributed(**{"distributed": True, **changes}), {})  # type: ignore[arg-type]


def test_the_address_is_asked_for_where_a_scheduler_does_not_say_it() -> None:
    with pytest.raises(ConfigError, match="--coordinator must be given, too"):
        group_of(Distributed(distributed=True), OPEN_MPI)


def test_an_environment_variable_that_is_not_a_number_is_rejected() -> None:
    with pytest.raises(ConfigError, match=r"\$LONGREEL_PROCESSES must be a number, got 'two'"):
        group_of(Distributed(distributed=True), {COORDINATOR: "h:1", PROCESSES: "two", PROCESS_ID: "0"})


@pytest.mark.slow
def test_a_process_whose_peers_do_not_come_ends_with_a_message(tmp_path: Path) -> None:
    dataset = write_dataset(tmp_path / "set", context=S, train=4, val=0)
    alone = ["--distributed", "--coordinator", f"127.0.0.1:{free_port()}", "--processes", "2", "--process-id", "0"]
    line = train_command(dataset, tmp_path / "run", *alone, "--connect-timeout-s", "3", devices=4)
    done = subprocess.run(line, env=run_environment(), capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 1, done.stderr
    assert "process 1 of 2 did not come to 127.0.0.1" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_local_processes_meet_and_end_with_the_error_of_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    command = train_command(tmp_path / "missing", tmp_path / "run", "--local-processes", "2", devices=1)
    monkeypatch.setattr(sys, "argv", command[command.index("longreel") :])
    assert longreel.main() == 1
    said = capfd.readouterr().err
    assert "of 2 ended with exit code 1; the others were ended" in said
    assert str(tmp_path / "missing") in said


@pytest.mark.slow
@pytest.mark.campaign
def test_two_processes_train_on_a_mixture_as_one_end_when_one_is_killed_and_resume(tmp_path: Path) -> None:
    sets = [write_dataset(tmp_path / str(n), context=S, train=n, val=0, seed=n) for n in (10, 6)]
    parts = tuple(map(WeightedDataset, map(located, sets), (Fraction("0.3"), Fraction("0.7"))))
    dataset = [f"{sets[0]}:0.3", f"{sets[1]}:0.7"]
    one, two = tmp_path / "one", tmp_path / "two"
    optimizer = OptimizerConfig(warmup_steps=0, schedule="constant")
    whole = TrainConfig(
        dataset=parts,
        out=one,
        steps=6,
        batch_size=4,
        model=ModelOptions(recipe="debug"),
        cadence=Cadence(eval_every=0),
        optimizer=optimizer,
    )
    train(whole)

    endless = train_command(dataset, two, "--local-processes", "2", devices=1, steps=100_000)
    pipe = subprocess.PIPE
    launcher = subprocess.Popen(endless, env=run_environment(), stdout=pipe, stderr=pipe, text=True)
    try:
        while launcher.poll() is None and len(losses(two)) < 6:
            time.sleep(0.05)
        processes = psutil.Process(launcher.pid).children(recursive=True)
        second = next(p for p in processes if p.environ().get(PROCESS_ID) == "1")
        killed = time.monotonic()
        second.send_signal(signal.SIGKILL)
        printed, said = launcher.communicate(timeout=120)
    finally:
        launcher.kill()
    assert time.monotonic() - killed < 60
    assert launcher.returncode == 1
    assert "process 1 of 2 was killed by signal 9; the others were ended" in said
    assert printed == ""  # nothing of Gloo
    assert not any(p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in processes)
    assert losses(two)[:6] == pytest.approx(losses(one), abs=1e-6)

    steps = len(losses(two)) + 2
    subprocess.run(
        train_command(dataset, two, "--local-processes", "2", devices=1, steps=steps),
        env=run_environment(),
        check=True,
        timeout=300,
    )
    train(dataclasses.replace(whole, steps=steps))
    assert losses(two) == pytest.approx(losses(one), abs=1e-6)
    for row in read_metrics(two / "metrics.jsonl"):
        assert row["epoch_1"] * 10 == pytest.approx(0.3 * 4 * row["step"], abs=0.5)
        assert row["epoch_2"] * 6 == pytest.approx(0.7 * 4 * row["step"], abs=0.5)


def test_a_run_of_one_process_needs_no_group() -> None:
    assert group_of(Distributed(), {}) is None
