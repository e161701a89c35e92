from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

import pytest

from schemas.runs.interrupt import StopRequest, starting_child


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_requests_a_stop_and_the_handlers_are_restored(number: signal.Signals) -> None:
    before, notified = signal.getsignal(number), []
    with StopRequest(notify=lambda: notified.append(number)) as stop:
        assert not stop.is_requested()
        signal.raise_signal(number)
        assert stop.is_requested()
    assert signal.getsignal(number) is before
    assert notified == [number]
    assert not stop.is_requested()  # can be used again


def test_a_second_signal_ends_the_process() -> None:
    program = (
        "import signal; from schemas.runs.interrupt import StopRequest\n"
        "with StopRequest():\n"
        "    signal.raise_signal(signal.SIGTERM); print('requested', flush=True)\n"
        "    signal.raise_signal(signal.SIGTERM); print('survived')\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (-signal.SIGTERM, "requested\n")


def test_processes_stop_when_they_agree() -> None:
    requests = []

    def agree(requested: bool) -> bool:
        requests.append(requested)
        return True  # another process received the signal

    with StopRequest(agree=agree) as stop:
        assert stop.is_requested()
    assert requests == [False]


def test_outside_the_main_thread_no_handler_is_installed() -> None:
    before = signal.getsignal(signal.SIGINT)
    answers: list[object] = []

    def run() -> None:
        with StopRequest() as stop:
            answers.extend([signal.getsignal(signal.SIGINT), stop.is_requested()])

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert answers == [before, False]


def test_ctrl_c_does_not_end_a_child_not_even_while_it_starts() -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    with starting_child():
        child = subprocess.Popen([sys.executable, "-c", "print('done')"], stdout=subprocess.PIPE)
    with child:
        os.kill(child.pid, signal.SIGINT)
        assert child.communicate()[0] == b"done\n"
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before
