from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from schemas.errors import JobError
from trainer.run.group.launcher import LAUNCHER, free_port, run_child, run_locally

pytestmark = pytest.mark.slow

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


_CRASH = """
import os, sys
from pathlib import Path
from trainer.run.group.distributed import PROCESS_ID
from trainer.run.native_output import NATIVE_OUTPUT, separate_native_output
separate_native_output(Path(os.environ[NATIVE_OUTPUT]), errors=True)
os.write(1, b"[Gloo] connected")
if os.environ[PROCESS_ID] == "1":
    os.write(2, b"Check failure")
    os.abort()
"""


def test_what_native_libraries_print_is_shown_only_of_a_process_that_crashes(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    message = r"process 1 of 2 was killed by signal 6; .*resumes\. It printed:\n\[Gloo\] connectedCheck failure$"
    with pytest.raises(JobError, match=message):
        run_locally(2, [sys.executable, "-c", _CRASH])
    assert "".join(capfd.readouterr()) == ""
    with pytest.raises(JobError):
        run_locally(2, [sys.executable, "-c", _CRASH], native_output=tmp_path / "kept")
    assert len(list((tmp_path / "kept").glob("native-*.log"))) == 2


_LAUNCH = """
import sys, time
from trainer.run.group.launcher import run_locally
run_locally(2, [sys.executable, sys.argv[1]])
"""
_WAIT = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(130))
print("ready", file=sys.stderr, flush=True)
time.sleep(60)
"""


@contextmanager
def started(program: str, folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Start a launcher of two processes that run `program`, and wait until both are ready."""
    script = folder / "program.py"
    script.write_text(program)
    command = [sys.executable, "-c", _LAUNCH, str(script)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True) as launcher:
        try:
            assert launcher.stderr is not None
            said = [launcher.stderr.readline() for _ in range(2)]
            assert sorted(line.split(": ")[-1] for line in said) == ["ready\n", "ready\n"]
            yield launcher
        finally:
            launcher.kill()


def test_a_signal_goes_to_all_processes(tmp_path: Path) -> None:
    with started(_WAIT, tmp_path) as launcher:
        launcher.send_signal(signal.SIGTERM)
        rest = launcher.communicate(timeout=30)[1]
    assert "Interrupted: all processes stopped; the same command resumes" in rest


_COUNT = """
import signal, sys, time
def stop(*_):
    signal.signal(signal.SIGINT, lambda *_: sys.exit(99))
    time.sleep(1)
    sys.exit(130)
signal.signal(signal.SIGINT, stop)
print("ready", file=sys.stderr, flush=True)
time.sleep(60)
"""


def test_a_key_that_interrupts_the_terminal_reaches_each_process_once(tmp_path: Path) -> None:
    with started(_COUNT, tmp_path) as launcher:
        os.killpg(launcher.pid, signal.SIGINT)  # as a terminal does: to all processes in the foreground
        rest = launcher.communicate(timeout=30)[1]
    assert "Interrupted: all processes stopped" in rest


def test_a_child_returns_its_exit_code() -> None:
    assert run_child([sys.executable, "-c", "raise SystemExit(7)"]) == 7
    assert run_child([sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"]) == -9


_STAY = """
import sys, time
from trainer.run.group.launcher import stop_with_launcher
stop_with_launcher()
print("ready", file=sys.stderr, flush=True)
time.sleep(60)
"""


def test_processes_end_when_their_launcher_is_killed(tmp_path: Path) -> None:
    with started(_STAY, tmp_path) as launcher:
        children = psutil.Process(launcher.pid).children()
        launcher.kill()
        _, alive = psutil.wait_procs(children, timeout=20)
    assert alive == []


def test_a_process_whose_launcher_is_gone_says_so() -> None:
    code = "from trainer.run.group.launcher import stop_with_launcher; stop_with_launcher()"
    environment = os.environ | {LAUNCHER: "1"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert "JobError: the process that started this one was killed" in done.stderr
