"""The decoder process: what it imports, how far it decodes ahead, and when it ends."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.video.decoder import DecodeConfig, Decoder
from schemas.errors import InputError
from tests.support.decoder_processes import children, has_ended, shared_memory


@pytest.fixture
def decoder() -> Iterator[Decoder]:
    with Decoder(DecodeConfig(size=64, fps=25, batch=4)) as decoder:
        yield decoder


def test_child_imports_neither_jax_nor_beam_nor_unused_decoders() -> None:
    code = "import sys, json, pipeline.video.child; print(json.dumps(sorted(sys.modules)))"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True).stdout
    loaded = {name.partition(".")[0] for name in json.loads(printed)}
    assert "av" in loaded
    assert not loaded & {"jax", "jaxlib", "flax", "apache_beam", "pyarrow", "psutil", "decord", "PIL"}


def test_decoding_runs_ahead_by_at_most_the_ring(decoder: Decoder, long_video: Path) -> None:
    frames = decoder.frames(long_video)
    next(frames)
    (child,) = children()
    used = -1.0
    while child.cpu_times().user != used:  # until it waits
        used = child.cpu_times().user
        time.sleep(0.3)
    child.kill()
    ahead = []
    with pytest.raises(InputError, match="SIGKILL"):
        ahead.extend(len(times) for _, times in frames)
    assert 0 < sum(ahead) <= decoder.config.slots * decoder.config.batch


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
def test_child_ends_with_its_parent(long_video: Path, end: str) -> None:
    before = shared_memory()
    code = PARENT.format(then="time.sleep(60)" if end == "killed" else "")
    with subprocess.Popen(
        [sys.executable, "-W", "error", "-c", code, str(long_video)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as parent:
        assert parent.stdout is not None
        assert parent.stderr is not None
        child = int(parent.stdout.readline())
        if end == "killed":
            parent.kill()
        assert has_ended(child)
        assert parent.stderr.read() == ""
    assert shared_memory() <= before


def test_child_survives_the_thread_that_started_it(decoder: Decoder, long_video: Path) -> None:
    thread = threading.Thread(target=decoder.probe, args=(long_video,))
    thread.start()
    thread.join()
    (child,) = children()
    time.sleep(0.2)
    assert child.is_running()
    assert decoder.probe(long_video).duration_s == 120.0
    assert children() == [child]
