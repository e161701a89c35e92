"""Runs commands of Longreel for benchmarks that consist of them."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import longreel

ROOT = Path(__file__).parents[2]


def run_longreel(*words: object, own_process: bool) -> None:
    """Print and run a command, in a process of its own or, quicker, in this one. Its failure ends the program."""
    print("longreel", *words, flush=True)
    if not own_process:
        if longreel.main(list(map(str, words))):
            raise SystemExit(f"longreel {words[0]} failed")
        return
    subprocess.run([sys.executable, "-P", "longreel.py", *map(str, words)], cwd=ROOT, check=True)


def children_cpu_s() -> float:
    """Return the processor time, in seconds, of all processes that were started and have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
