"""Tokenizes videos in this process, as the command does or without it, and prints what that cost as JSON.

    python -P benchmarks/jobs_parts/measured.py tokenize WORKSPACE [OPTION ...]
    python -P benchmarks/jobs_parts/measured.py bare WORKSPACE

`bare` decodes and encodes the selected videos one after the other and keeps the codes in memory. The start ends when
the first video is requested of a decoder; the encoder is compiled after that. Processor time is that of this process
and its children.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

BEGAN_S = time.perf_counter()


def cpu_s() -> float:
    """Return user and system time of this process and its children, whether they run or have ended."""
    import psutil

    own = psutil.Process()
    times = [own.cpu_times(), *(child.cpu_times() for child in own.children(recursive=True))]
    return sum(t.user + t.system + t.children_user + t.children_system for t in times)


def measured(work: Callable[[], Any]) -> dict[str, float]:
    """Return the time of a process that does only `work`: until a decoder is asked for the first frames, and after."""
    from pipeline.video.decoder import Decoder

    marks: list[tuple[float, float]] = []
    frames = Decoder.frames

    def marking(self: Decoder, *words: Any, **options: Any) -> Any:
        marks.append((time.perf_counter(), cpu_s()))
        return frames(self, *words, **options)

    Decoder.frames = marking  # type: ignore[method-assign]
    work()
    ended_s, used_s = time.perf_counter(), cpu_s()
    (began_s, began_cpu_s), *_ = marks
    return {
        "start_s": began_s - BEGAN_S,
        "start_cpu_s": began_cpu_s,
        "stage_s": ended_s - began_s,
        "stage_cpu_s": used_s - began_cpu_s,
    }


def bare(workspace: str) -> None:
    import numpy as np

    from pipeline.kinds.visual import crop_of
    from pipeline.runtime.units import unit_files, unit_number
    from pipeline.runtime.workspace import Workspace
    from pipeline.tokenize.config import TokenizeConfig
    from pipeline.tokenize.worker import read_selected
    from pipeline.video.decoder import Decoder
    from schemas.storage.location import Location
    from tokenizer.codec import FrameCodec

    opened, config = Workspace.existing(Location.parse(workspace)), TokenizeConfig()
    rows = [row for path in unit_files(opened.selection) for row in read_selected(opened, unit_number(path))]
    codec = FrameCodec.load(config.vision)
    with Decoder(config.decode) as decoder:
        for row in rows:
            batches = decoder.frames(Path(row.uri), crop=crop_of(row, config), shots=config.shots)
            np.concatenate([codec.encode(frames) for frames, _ in batches])


def tokenize(*words: str) -> None:
    import longreel

    if longreel.main(["tokenize", "--out", *words]):
        raise SystemExit("longreel tokenize failed")


if __name__ == "__main__":
    work = {"bare": bare, "tokenize": tokenize}[sys.argv[1]]
    print(json.dumps(measured(lambda: work(*sys.argv[2:]))))
