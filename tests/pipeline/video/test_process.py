"""Decoder processes that hang, grow, crash or are killed. The processes are real and receive real signals."""

from __future__ import annotations

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

from pipeline.video import decoder as decoder_module
from pipeline.video.decoder import DecodeConfig, Decoder
from pipeline.video.process import DecoderProcess
from schemas.deadline import time_limit
from schemas.errors import InputError, Interrupted, JobError, Reason
from tests.support.decoder_processes import children, has_ended, shared_memory
from tests.support.inputs.media import make_video, read_number

pytestmark = pytest.mark.slow


@pytest.fixture
def decoder() -> Iterator[Decoder]:
    with Decoder(DecodeConfig(size=64, fps=25, batch=4)) as decoder:
        yield decoder


def test_child_starts_with_the_first_request_and_serves_all_requests(decoder: Decoder, long_video: Path) -> None:
    before = children()
    with Decoder() as idle:
        assert idle.report is None
        assert children() == before
    decoder.probe(long_video)
    (child,) = [p for p in children() if p not in before]
    sum(len(times) for _, times in decoder.frames(long_video))
    assert decoder.subtitles(long_video) == []
    assert [p for p in children() if p not in before] == [child]
    decoder.close()
    assert children() == before


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT])
def test_crash_affects_one_video(decoder: Decoder, long_video: Path, how: signal.Signals) -> None:
    frames = decoder.frames(long_video)
    next(frames)
    (child,) = children()
    child.send_signal(how)
    with pytest.raises(InputError, match=how.name) as e:
        list(frames)
    assert e.value.reason is Reason.CRASHED
    assert str(long_video) in str(e.value)
    assert has_ended(child.pid)
    numbers = [read_number(frame) for batch, _ in decoder.frames(long_video) for frame in batch]
    assert numbers == list(range(3000))


def test_idle_child_that_is_killed_is_replaced(decoder: Decoder, long_video: Path) -> None:
    for _ in range(3):
        assert decoder.probe(long_video).duration_s == 120.0
        (child,) = children()
        child.kill()
    assert decoder.probe(long_video).duration_s == 120.0


def test_hanging_decoder_is_killed_at_the_time_limit(long_video: Path) -> None:
    with Decoder(DecodeConfig(size=64, fps=25, batch=4, time_limit_s=0.5)) as decoder:
        frames = decoder.frames(long_video)
        next(frames)
        (child,) = children()
        child.suspend()
        with pytest.raises(InputError, match="time_limit_s") as e:
            list(frames)
        assert e.value.reason is Reason.TIMEOUT
        assert has_ended(child.pid)
        assert decoder.probe(long_video).duration_s == 120.0


def test_an_item_hears_a_stop_and_reports_while_its_decoder_works(long_video: Path) -> None:
    calls: list[float] = []

    def check() -> None:
        calls.append(time.monotonic())
        if len(calls) == 3:
            raise Interrupted("stopped")

    with Decoder(DecodeConfig(size=64, fps=25, batch=4)) as decoder:
        assert decoder.probe(long_video).duration_s == 120.0
        (child,) = children()
        child.suspend()
        with time_limit(None, check=check), pytest.raises(Interrupted):
            decoder.analyze(long_video)
        assert has_ended(child.pid)
        assert len(calls) == 3
        assert decoder.probe(long_video).duration_s == 120.0


def test_decoding_beyond_the_time_limit_is_stopped(tmp_path: Path, long_video: Path) -> None:
    with Decoder(DecodeConfig(size=1024, fps=25, time_limit_s=0.4)) as decoder:
        with pytest.raises(InputError) as e:
            sum(len(times) for _, times in decoder.frames(long_video))
        assert e.value.reason is Reason.TIMEOUT
        small = make_video(tmp_path / "small.mp4", frames=2)
        assert decoder.probe(small).duration_s == pytest.approx(0.08)


def test_time_between_batches_does_not_count(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4", frames=40)
    with Decoder(DecodeConfig(size=32, fps=25, batch=4, time_limit_s=1.0)) as decoder:
        decoder.probe(path)
        for _ in decoder.frames(path):
            time.sleep(0.15)
    assert decoder.report is not None
    assert decoder.report.frames == 40


def test_decoder_beyond_its_memory_limit_is_killed(tmp_path: Path, long_video: Path) -> None:
    Image.new("RGB", (9000, 9000)).save(tmp_path / "large.png", compress_level=1)  # 243 MB unpacked
    with Decoder(DecodeConfig(memory_limit_bytes=300 << 20)) as decoder:
        assert decoder.probe(long_video).duration_s == 120.0
        (child,) = children()
        with pytest.raises(InputError, match="memory_limit_bytes") as e:
            list(decoder.frames(tmp_path / "large.png"))
        assert e.value.reason is Reason.MEMORY
        assert has_ended(child.pid)
        assert decoder.probe(long_video).duration_s == 120.0


def test_closing_the_iterator_frees_the_child_for_the_next_request(decoder: Decoder, long_video: Path) -> None:
    decoder.probe(long_video)
    (child,) = children()
    for _ in range(5):
        frames = decoder.frames(long_video)
        next(frames)
        frames.close()
        assert decoder.report is None
    assert decoder.probe(long_video).duration_s == 120.0
    assert children() == [child]


def test_child_that_does_not_stop_is_replaced(
    decoder: Decoder, long_video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoder_module, "_STOP_LIMIT_S", 0.3)
    frames = decoder.frames(long_video)
    next(frames)
    (child,) = children()
    child.suspend()
    frames.close()
    assert has_ended(child.pid)
    assert decoder.probe(long_video).duration_s == 120.0


def test_error_in_the_loop_of_the_caller_frees_the_child(decoder: Decoder, long_video: Path) -> None:
    def fail_at_the_first_batch() -> None:
        for _ in decoder.frames(long_video):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_at_the_first_batch()
    assert decoder.probe(long_video).duration_s == 120.0


def test_files_memory_and_processes_are_released(long_video: Path) -> None:
    process, before = psutil.Process(), shared_memory()
    open_files = process.num_fds()
    for _ in range(3):
        with Decoder(DecodeConfig(size=64, fps=25)) as decoder:
            next(decoder.frames(long_video))
    assert process.num_fds() <= open_files  # others of this process can be closed meanwhile
    assert shared_memory() <= before
    assert children() == []


def test_child_ends_when_its_decoder_is_garbage_collected(long_video: Path) -> None:
    decoder = Decoder()
    decoder.probe(long_video)
    (child,) = children()
    del decoder
    assert has_ended(child.pid)


def test_decoders_in_several_threads_are_independent(tmp_path: Path) -> None:
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


def test_forked_copy_of_the_parent_neither_uses_nor_ends_the_child(decoder: Decoder, long_video: Path) -> None:
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
    run = subprocess.run([sys.executable, "-c", code, str(long_video)], capture_output=True, text=True, check=True)
    assert "by a fork" in run.stdout
    assert run.stdout.endswith("120.0 2\n")


def test_decoder_process_that_cannot_start_is_a_job_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "av.py").write_text("raise ImportError('no such library here')")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(JobError, match="no such library here"):
        DecoderProcess(DecodeConfig())
    assert children() == []
