"""Ctrl-C at a terminal reaches the workers of the machine, too: they write what they made and end with the command."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.support.texts import story


def session(leader: int) -> list[psutil.Process]:
    """Return the processes of a session that still run."""
    return [process for process in psutil.process_iter() if _is_of(process, leader)]


def _is_of(process: psutil.Process, leader: int) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE and os.getsid(process.pid) == leader
    except (psutil.NoSuchProcess, ProcessLookupError):  # it has just ended
        return False


@pytest.mark.slow
def test_ctrl_c_at_a_terminal_ends_a_command_and_its_workers_with_one_line(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for number in range(24):
        (tmp_path / "in" / f"{number}.txt").write_text(story(number, 60))
    command = [sys.executable, "-P", "-m", "longreel", "survey", str(tmp_path / "in"), "--out", str(tmp_path / "out")]
    options = ["--units", "24", "--engine", "dask", "--workers", "1"]
    with (tmp_path / "told").open("w") as told:
        process = subprocess.Popen([*command, *options], start_new_session=True, stdout=told, stderr=told)
    try:
        until = time.monotonic() + 120
        while not list(tmp_path.glob("out/logs/survey/*/*.jsonl")):
            assert process.poll() is None, (tmp_path / "told").read_text()
            assert time.monotonic() < until
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(120) == 130
        told_lines = (tmp_path / "told").read_text()
        assert told_lines.count("stopped; what was made is kept. Run the same command to resume.") == 1
        assert "Traceback" not in told_lines
        while session(process.pid):  # helper processes end when they see that their parent ended
            assert time.monotonic() < until
            time.sleep(0.02)
        assert list(tmp_path.glob("out/survey/*/unit-*.parquet"))
    finally:
        for left in session(process.pid):
            left.kill()
        process.wait()
