"""What a decoder that hangs, grows, crashes or is killed does to its parent, and the end of the parent to it.

The decoder is a real process here: it is found by its pid and sent real signals.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from PIL import Image

from pipeline.video.decoder import DecodeConfig, Decoder
from pipeline.video.process import DecoderProcess
from schemas.errors import InputError, JobError, Reason
from tests.support.media import make_video, read_number


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video long enough that its decoder is at work, or waits with a full ring, when a test strikes."""
    return make_video(tmp_path_factory.mktemp("video") / "a.mp4", frames=3000)


@pytest.fixture
def decoder() -> Iterator[Decoder]:
    with Decoder(DecodeConfig(size=64, fps=25, batch=4)) as decoder:
        yield decoder


def children() -> list[psutil.Process]:
    """The decoder processes of this one."""
    return [child for child in psutil.Process().children() if "pipeline.video.child" in child.cmdline()]


def shared_memory() -> set[Path]:
    return set(Path("/dev/shm").iterdir())


def gone(pid: int, *, within_s: float = 10.0) -> bool:
    """Whether a process ends soon (a zombie that nobody waits for counts as ended)."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.02)
    return False


def test_nothing_starts_before_the_first_request_and_one_child_serves_all(decoder: Decoder, video: Path) -> None:
    before = children()
    with Decoder() as idle:
        assert idle.report is None
        assert children() == before
    decoder.probe(video)
    (child,) = [p for p in children() if p not in before]
    sum(len(times) for _, times in decoder.frames(video))
    assert decoder.subtitles(video) == []
    assert [p for p in children() if p not in before] == [child]
    decoder.close()
    assert children() == before


def test_the_child_loads_no_jax_and_no_beam() -> None:
    code = "import sys, json, pipeline.video.child; print(json.dumps(sorted(sys.modules)))"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True).stdout
    loaded = {name.partition(".")[0] for name in json.loads(printed)}
    assert "av" in loaded
    assert not loaded & {"jax", "jaxlib", "flax", "apache_beam", "pyarrow", "psutil", "decord", "PIL"}


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT])
def test_a_crash_costs_one_video(decoder: Decoder, video: Path, how: signal.Signals) -> None:
    frames = decoder.frames(video)
    next(frames)
    (child,) = children()
    child.send_signal(how)
    with pytest.raises(InputError, match=how.name) as e:
        list(frames)
    assert e.value.reason is Reason.CRASHED
    assert str(video) in str(e.value)
    assert gone(child.pid)
    numbers = [read_number(frame) for batch, _ in decoder.frames(video) for frame in batch]
    assert numbers == list(range(3000))


def test_a_child_killed_while_idle_costs_nothing(decoder: Decoder, video: Path) -> None:
    for _ in range(3):
        assert decoder.probe(video).duration_s == 120.0
        (child,) = children()
        child.kill()
    assert decoder.probe(video).duration_s == 120.0


def test_a_decoder_that_hangs_is_ended_at_the_time_limit(video: Path) -> None:
    with Decoder(DecodeConfig(size=64, fps=25, batch=4, time_limit_s=0.5)) as decoder:
        frames = decoder.frames(video)
        next(frames)
        (child,) = children()
        child.suspend()
        with pytest.raises(InputError, match="time_limit_s") as e:
            list(frames)
        assert e.value.reason is Reason.TIMEOUT
        assert gone(child.pid)
        assert decoder.probe(video).duration_s == 120.0


def test_decoding_that_takes_too_long_is_ended(tmp_path: Path, video: Path) -> None:
    with Decoder(DecodeConfig(size=1024, fps=25, time_limit_s=0.4)) as decoder:
        with pytest.raises(InputError) as e:
            sum(len(times) for _, times in decoder.frames(video))
        assert e.value.reason is Reason.TIMEOUT
        small = make_video(tmp_path / "small.mp4", frames=2)
        assert decoder.probe(small).duration_s == pytest.approx(0.08)


def test_the_callers_own_time_is_not_counted(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4", frames=40)
    with Decoder(DecodeConfig(size=32, fps=25, batch=4, time_limit_s=1.0)) as decoder:
        decoder.probe(path)
        for _ in decoder.frames(path):
            time.sleep(0.15)
    assert decoder.report is not None
    assert decoder.report.frames == 40


def test_a_decoder_that_grows_beyond_its_memory_is_ended(tmp_path: Path, video: Path) -> None:
    Image.new("RGB", (9000, 9000)).save(tmp_path / "large.png", compress_level=1)  # 243 MB unpacked
    with Decoder(DecodeConfig(memory_limit_bytes=300 << 20)) as decoder:
        assert decoder.probe(video).duration_s == 120.0
        (child,) = children()
        with pytest.raises(InputError, match="memory_limit_bytes") as e:
            list(decoder.frames(tmp_path / "large.png"))
        assert e.value.reason is Reason.MEMORY
        assert gone(child.pid)
        assert decoder.probe(video).duration_s == 120.0


def test_closing_early_frees_the_child_for_the_next_request(decoder: Decoder, video: Path) -> None:
    decoder.probe(video)
    (child,) = children()
    for _ in range(5):
        frames = decoder.frames(video)
        next(frames)
        frames.close()
        assert decoder.report is None
    assert decoder.probe(video).duration_s == 120.0
    assert children() == [child]


def test_a_child_that_does_not_stop_is_replaced(decoder: Decoder, video: Path) -> None:
    frames = decoder.frames(video)
    next(frames)
    (child,) = children()
    child.suspend()
    frames.close()
    assert gone(child.pid)
    assert decoder.probe(video).duration_s == 120.0


def test_an_error_in_the_callers_loop_frees_the_child(decoder: Decoder, video: Path) -> None:
    def fail_at_the_first_batch() -> None:
        for _ in decoder.frames(video):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_at_the_first_batch()
    assert decoder.probe(video).duration_s == 120.0


def test_decoding_runs_ahead_by_the_ring_only(decoder: Decoder, video: Path) -> None:
    frames = decoder.frames(video)
    next(frames)
    (child,) = children()
    used = -1.0
    while child.cpu_times().user != used:  # until it works no more
        used = child.cpu_times().user
        time.sleep(0.3)
    child.kill()
    ahead = []
    with pytest.raises(InputError, match="SIGKILL"):
        ahead.extend(len(times) for _, times in frames)
    assert 0 < sum(ahead) <= decoder.config.slots * decoder.config.batch


def test_nothing_is_left_open(video: Path) -> None:
    process, before = psutil.Process(), shared_memory()
    open_files = process.num_fds()
    for _ in range(3):
        with Decoder(DecodeConfig(size=64, fps=25)) as decoder:
            next(decoder.frames(video))
    assert process.num_fds() == open_files
    assert shared_memory() <= before
    assert children() == []


def test_a_decoder_that_is_dropped_takes_its_child_along(video: Path) -> None:
    decoder = Decoder()
    decoder.probe(video)
    (child,) = children()
    del decoder
    assert gone(child.pid)


PARENT = """
import sys, time
from pathlib import Path
from pipeline.video.decoder import DecodeConfig, Decoder

decoder = Decoder(DecodeConfig(size=64, fps=25))
frames = decoder.frames(Path(sys.argv[1]))
next(frames)
print(decoder._process.pid, flush=True)
{then}
"""


@pytest.mark.parametrize("end", ["killed", "ends without closing"])
def test_the_child_ends_with_its_parent(video: Path, end: str) -> None:
    before = shared_memory()
    code = PARENT.format(then="time.sleep(60)" if end == "killed" else "")
    with subprocess.Popen(
        [sys.executable, "-W", "error", "-c", code, str(video)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as parent:
        assert parent.stdout is not None
        assert parent.stderr is not None
        child = int(parent.stdout.readline())
        if end == "killed":
            parent.kill()
        assert gone(child)
        assert parent.stderr.read() == ""
    assert shared_memory() <= before


def test_a_thread_that_ends_does_not_take_the_child_along(decoder: Decoder, video: Path) -> None:
    thread = threading.Thread(target=decoder.probe, args=(video,))
    thread.start()
    thread.join()
    (child,) = children()
    time.sleep(0.2)
    assert child.is_running()
    assert decoder.probe(video).duration_s == 120.0
    assert children() == [child]


def test_decoders_in_several_threads_do_not_meet(tmp_path: Path) -> None:
    paths = [make_video(tmp_path / f"{n}.mp4", frames=60 + n) for n in range(3)]
    counts: dict[Path, int] = {}

    def work(path: Path) -> None:
        with Decoder(DecodeConfig(size=32, fps=25)) as decoder:
            counts[path] = sum(len(times) for _, times in decoder.frames(path))

    threads = [threading.Thread(target=work, args=(path,)) for path in paths]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [counts[path] for path in paths] == [60, 61, 62]


def test_a_fork_of_the_parent_neither_uses_nor_ends_the_child(decoder: Decoder, video: Path) -> None:
    code = """
import os, sys
from pathlib import Path
from pipeline.video.decoder import Decoder
decoder, path = Decoder(), Path(sys.argv[1])
decoder.probe(path)
pid = os.fork()
if pid == 0:
    try:
        decoder.probe(path)
    except RuntimeError as e:
        print(e, flush=True)
    decoder.close()
    os._exit(0)
os.waitpid(pid, 0)
print(decoder.probe(path).duration_s, decoder._requests)
"""
    run = subprocess.run([sys.executable, "-c", code, str(video)], capture_output=True, text=True, check=True)
    assert "by a fork" in run.stdout
    assert run.stdout.endswith("120.0 2\n")


def test_a_decoder_process_that_cannot_start_is_no_fault_of_the_video(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "av.py").write_text("raise ImportError('no such library here')")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(JobError, match="no such library here"):
        DecoderProcess(DecodeConfig())
    assert children() == []
