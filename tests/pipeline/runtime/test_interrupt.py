"""A signal requests a stop, which the code of workers sees in any thread."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from pipeline.runtime import interrupt
from pipeline.runtime.interrupt import is_stopping, item_limit, raise_if_stopping, stop_on_signals
from schemas.deadline import checkpoint
from schemas.errors import Interrupted


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_requests_a_stop_in_all_threads(number: int, capsys: pytest.CaptureFixture[str]) -> None:
    with stop_on_signals(), ThreadPoolExecutor(1) as threads:
        raise_if_stopping()
        os.kill(os.getpid(), number)
        assert threads.submit(is_stopping).result()
        assert "stopping; what is complete is kept" in capsys.readouterr().err
        with pytest.raises(Interrupted, match="Run the same command to resume"):
            raise_if_stopping()


def test_the_request_and_the_signal_handlers_end_with_the_job() -> None:
    before = signal.getsignal(signal.SIGINT)
    with stop_on_signals():
        os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before
    assert not is_stopping()
    raise_if_stopping()


def test_a_request_ends_the_work_on_an_item_at_its_next_checkpoint() -> None:
    with stop_on_signals(), item_limit(None):
        checkpoint()
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(Interrupted):
            checkpoint()


def test_an_item_that_takes_long_is_reported_at_intervals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interrupt, "_REPORT_S", 0.02)
    reports: list[float] = []
    with item_limit(None, report=reports.append):
        checkpoint()
        assert not reports
        for _ in range(10):
            time.sleep(0.01)
            checkpoint()
    assert 2 <= len(reports) <= 6
    assert reports == sorted(reports)


@pytest.mark.slow
def test_a_command_stops_inside_a_long_book(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "long.txt").write_text("A line of a long book, which goes on and on.\n" * 600_000)
    command = [sys.executable, "-P", "longreel.py", "survey", str(tmp_path / "in"), "--out", str(tmp_path / "out")]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    while not (tmp_path / "out" / "manifest.parquet").exists():
        assert process.poll() is None
        time.sleep(0.05)
    time.sleep(2)
    process.send_signal(signal.SIGINT)
    used = psutil.Process(process.pid).cpu_times().user
    began = time.monotonic()
    while process.poll() is None and time.monotonic() - began < 60:
        with contextlib.suppress(psutil.Error):
            after = psutil.Process(process.pid).cpu_times().user
        time.sleep(0.02)
    assert process.poll() == 130
    assert after - used < 2  # processor time, as other tests run at the same time; the book takes 20 s
    assert "stopped; what was made is kept" in process.communicate()[1]
