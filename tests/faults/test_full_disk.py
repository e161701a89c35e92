"""Commands that cannot write any more end with one message, and complete when there is space; `make faults` runs this.

A limit of the size of files stands for the full disk: the same calls fail, at a moment that the test chooses. Training
runs on file systems of many sizes in memory.
"""

from __future__ import annotations

import resource
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.faults.outcomes import Outcomes
from tests.faults.test_kills import finished_files, run_command, write_material
from tests.support.servers.own_disk import on_small_disk
from tests.support.training.runs import computed_rows, final_state, run_environment, train_command
from tests.support.training.training_dataset import write_dataset

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


@pytest.mark.slow
@pytest.mark.faults
def test_a_training_run_without_space_says_so_and_computes_the_same_later(
    tmp_path: Path, results: list[Outcomes]
) -> None:
    dataset, outcomes = write_dataset(tmp_path / "set", context=128, train=10, val=2), Outcomes("full disk in train")
    results.append(outcomes)
    options = {"devices": 1, "steps": 8, "checkpoint_every": 2, "eval_every": 4}
    straight, disk = tmp_path / "straight", tmp_path / "disk"
    disk.mkdir()
    subprocess.run(train_command(dataset, straight, **options), env=run_environment(), capture_output=True, check=True)
    for kib in (4, 32, 64, 128, 256, 512, 768, 1024, 1536, 2048):  # the run takes 870
        kept = tmp_path / str(kib)
        before = on_small_disk(disk, kib, kept)
        shutil.rmtree(kept, ignore_errors=True)
        subprocess.run([*before, *train_command(dataset, disk / "run", **options)], env=run_environment(), check=True)
        *said, code = (kept / "first").read_text().splitlines()
        told = [line for line in said if line.startswith("longreel train: ")]
        is_told = code == "1" and len(told) == 1 and "No space left on device" in told[0] and len(said) < 10
        ours, theirs = final_state(kept / "disk" / "run"), final_state(straight)
        is_made = computed_rows(kept / "disk" / "run") == computed_rows(straight)
        is_made = is_made and all(np.array_equal(ours[name], theirs[name]) for name in theirs)
        outcomes.named += is_told and is_made
        outcomes.unchanged += code == "0" and is_made
        if not is_made or not (is_told or code == "0"):
            outcomes.wrong.append(f"{kib} KiB: exit code {code}, the same later: {is_made}: {said[-5:]}")
    assert outcomes.wrong == []


def _run(inputs: Path, out: Path, *, file_size: int = resource.RLIM_INFINITY) -> subprocess.CompletedProcess[str]:
    """Run everything in a process whose files cannot grow beyond `file_size` bytes."""

    command = [sys.executable, "-c", _LIMITED, str(file_size), *run_command(inputs, out)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
