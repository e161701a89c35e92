"""Runs a command and prints, as JSON, after how many seconds each of its workers was done, from the first unit.

    python -P benchmarks/jobs_parts/ends.py queue survey VIDEO ... --out WORKSPACE --workers 2
    python -P benchmarks/jobs_parts/ends.py divided tokenize --out WORKSPACE --workers 2 ...

With `queue`, workers take units from a queue, as always; with `divided` they process those that Beam gives them.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


def main(way: str, *words: str) -> None:
    """Run the command and print the ends of its workers."""
    import longreel
    from pipeline.runtime.dofns import DoEach
    from pipeline.runtime.engines.local import LocalEngine

    LocalEngine.shares_elements = way == "queue"
    spans: dict[DoEach, list[float]] = {}
    on = DoEach._on

    @contextmanager
    def timed(self: DoEach, element: Any) -> Iterator[Callable[..., Any]]:
        times = spans.setdefault(self, [time.perf_counter()])
        with on(self, element) as work:
            yield work
        times.append(time.perf_counter())

    DoEach._on = timed  # type: ignore[method-assign]
    if longreel.main(list(words)):
        raise SystemExit(f"longreel {words[0]} failed")
    began = min(times[0] for times in spans.values())
    print(json.dumps(sorted(times[-1] - began for times in spans.values())))


if __name__ == "__main__":
    main(*sys.argv[1:])
