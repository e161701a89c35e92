"""Commands that cannot write any more end with one message, and complete when there is space; `make faults` runs this.

A limit of the size of files stands for the full disk: the same calls fail, at a moment that the test chooses.
"""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.outcomes import Outcomes
from tests.faults.test_kills import finished_files, run_command, write_material

# Not by `preexec_fn`, which forks: Python warns of forks after JAX has started threads.
_LIMITED = """
import resource, sys
import longreel
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]),) * 2)
sys.exit(longreel.main(sys.argv[2:]))
"""
SIZES = [256 << n for n in range(10)]  # bytes, to 128 KiB


@pytest.mark.faults
def test_a_run_without_space_says_so_and_completes_later(tmp_path: Path, results: list[Outcomes]) -> None:
    inputs, outcomes = write_material(tmp_path / "in"), Outcomes("full disk")
    results.append(outcomes)
    assert _run(inputs, tmp_path / "straight").returncode == 0
    expected = finished_files(tmp_path / "straight")
    for size in SIZES:
        out = tmp_path / str(size)
        limited = _run(inputs, out, file_size=size)
        code, said = limited.returncode, limited.stderr
        is_told = code == 1 and "Finished work is kept" in said and "Traceback" not in said
        completed = _run(inputs, out).returncode == 0 and finished_files(out) == expected
        outcomes.named += is_told and completed
        outcomes.unchanged += code == 0 and completed
        if not completed or not (is_told or code == 0):
            outcomes.wrong.append(f"{size} bytes: exit code {code}, completed {completed}: {said[-500:]}")
    assert outcomes.wrong == []


def _run(inputs: Path, out: Path, *, file_size: int = resource.RLIM_INFINITY) -> subprocess.CompletedProcess[str]:
    """Run everything in a process whose files cannot grow beyond `file_size` bytes."""

    command = [sys.executable, "-c", _LIMITED, str(file_size), *run_command(inputs, out)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
