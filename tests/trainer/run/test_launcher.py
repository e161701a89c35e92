from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time

import psutil
import pytest

from schemas.errors import JobError
from trainer.run.launcher import LAUNCHER, free_port, run_locally

LONGREEL = [sys.executable, "-P", "-m", "longreel"]


def test_a_free_port_can_be_used() -> None:
    with socket.create_server(("127.0.0.1", free_port())):
        pass


def test_the_error_of_a_process_ends_all(capfd: pytest.CaptureFixture[str]) -> None:
    started = time.monotonic()
    with pytest.raises(JobError, match=r"process \d of 2 ended with exit code 2; the others were ended"):
        run_locally(2, [*LONGREEL, "train", "--no-such-option"])
    assert time.monotonic() - started < 60
    said = capfd.readouterr().err
    assert "--no-such-option" in said


def test_processes_that_end_well_are_no_error(capfd: pytest.CaptureFixture[str]) -> None:
    run_locally(2, [*LONGREEL, "--version"])
    assert capfd.readouterr().out.count("longreel ") == 1  # of the first process


_LAUNCH = """
import sys, time
from trainer.run.launcher import run_locally
run_locally(2, [sys.executable, sys.argv[1]])
"""
_WAIT = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(130))
print("ready", file=sys.stderr, flush=True)
time.sleep(60)
"""


def test_a_signal_goes_to_all_processes(tmp_path_factory: pytest.TempPathFactory) -> None:
    script = tmp_path_factory.mktemp("script") / "wait.py"
    script.write_text(_WAIT)
    launcher = subprocess.Popen([sys.executable, "-c", _LAUNCH, str(script)], stderr=subprocess.PIPE, text=True)
    try:
        assert launcher.stderr is not None
        said = [launcher.stderr.readline() for _ in range(2)]
        assert sorted(line.split(": ")[-1] for line in said) == ["ready\n", "ready\n"]
        launcher.send_signal(signal.SIGTERM)
        rest = launcher.communicate(timeout=30)[1]
    finally:
        launcher.kill()
    assert "Interrupted: all processes stopped; the same command resumes" in rest


_STAY = """
import sys, time
from trainer.run.launcher import stop_with_launcher
stop_with_launcher()
print("ready", file=sys.stderr, flush=True)
time.sleep(60)
"""


def test_processes_end_when_their_launcher_is_killed(tmp_path_factory: pytest.TempPathFactory) -> None:
    script = tmp_path_factory.mktemp("script") / "stay.py"
    script.write_text(_STAY)
    launcher = subprocess.Popen([sys.executable, "-c", _LAUNCH, str(script)], stderr=subprocess.PIPE, text=True)
    assert launcher.stderr is not None
    said = [launcher.stderr.readline() for _ in range(2)]
    assert sorted(line.split(": ")[-1] for line in said) == ["ready\n", "ready\n"]
    children = psutil.Process(launcher.pid).children()
    launcher.kill()
    _, alive = psutil.wait_procs(children, timeout=20)
    launcher.communicate()
    assert alive == []


def test_a_process_whose_launcher_is_gone_says_so() -> None:
    code = "from trainer.run.launcher import stop_with_launcher; stop_with_launcher()"
    environment = os.environ | {LAUNCHER: "1"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert "JobError: the process that started this one was killed" in done.stderr
