"""Measures what a worker needs in each stage, and how much faster two Dask workers are than one.

    python benchmarks/engines.py [--videos 16] [--seconds 20] [--repeat 2] [--smoke] [--out engines.json]

Videos are generated (1280x720 H.264, 25 frames per second; hard to decode, as the whole picture moves) and served by
HTTP, so that a worker copies each to its scratch disk, as from a bucket.

Sizing: every stage runs as a command with one worker, in a process of its own. Processor time is that of the process
and its children; memory the peak of all of them together, and of the largest one; scratch the peak of its $TMPDIR.

Two workers: survey and tokenize on Dask workers that are pinned to a core each, as if they were machines with one
core. Ratios of time are only right on an idle machine. What does not depend on other processes is the processor time
of the only worker over that of the busier of two: the speed-up if nothing else ran, without what the driver does.
"""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil
import tyro
from support.static_server import static_server
from support.textures import write_texture_video

from tokenizer.text.training import TextTrainConfig, train_text_tokenizer

ROOT = Path(__file__).resolve().parents[1]
STAGES = ("survey", "select", "tokenize", "pack")
JOBS = ("survey", "tokenize")  # that are bound by the processor
CAPTION = "squares of color move over the picture from the lower right to the upper left, number {}"
LINE = re.compile(r"^(?P<job>\w+)[^:]*: [\d,]+ in: .* (?P<seconds>[\d.]+) s$", re.MULTILINE)


@dataclass(frozen=True)
class Options:
    """Measure stages and workers."""

    videos: int = 16
    seconds: int = 20  # of each video
    repeat: int = 2  # of the comparison of workers
    size: tuple[int, int] = (1280, 720)  # of the videos
    jobs: tuple[str, ...] = JOBS  # that are compared
    smoke: bool = False  # two small videos of a second, and survey only
    out: Path | None = None  # write the figures to this JSON file


@dataclass(frozen=True)
class Usage:
    """What a stage used."""

    stage: str
    wall_s: float
    cpu_s: float
    peak_bytes: int  # of all its processes together
    largest_bytes: int  # of one process
    scratch_bytes: int


def command(stage: str, out: Path, *options: str) -> list[str]:
    """Return the command of a stage."""
    return [sys.executable, "-P", "-m", "longreel", stage, *options, "--out", str(out)]


def options_of(stage: str, manifest: Path) -> list[str]:
    """Return the options of a stage, beyond the workspace."""
    return {
        "survey": [str(manifest), "--allow-hosts", "127.0.0.1", "--units", "16"],
        "select": ["--limit", "frozen_share=:"],
        "tokenize": ["--allow-hosts", "127.0.0.1", "--text-tokenizer", str(manifest.with_name("text.model"))],
        "pack": ["--context", "4096"],
    }[stage]


def sized(stage: str, words: Sequence[str], scratch: Path) -> Usage:
    """Run a command and sample its processes and its scratch folder."""
    scratch.mkdir()
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    peak = largest = disk = 0
    with tempfile.TemporaryFile("w+") as told:
        process = subprocess.Popen(words, env=environment(TMPDIR=str(scratch)), stderr=told, stdout=told)
        while process.poll() is None:
            sizes = [memory(each) for each in tree(process.pid)]
            peak, largest = max(peak, sum(sizes)), max(largest, *sizes, 0)
            disk = max(disk, size_of(scratch))
            time.sleep(0.2)
        told.seek(0)
        if process.returncode:
            raise RuntimeError(f"{' '.join(words)}\n{told.read()}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Usage(stage, time.monotonic() - started, cpu, peak, largest, disk)


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore", "JAX_PLATFORMS": "cpu", **more}


def tree(pid: int) -> list[psutil.Process]:
    """Return a process and those that it started."""
    try:
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def memory(process: psutil.Process) -> int:
    """Return the resident memory of a process, shared pages included."""
    try:
        return int(process.memory_info().rss)
    except psutil.Error:
        return 0


def cpu_of(pid: int) -> float:
    """Return the processor seconds of a process and of those that it started."""
    total = 0.0
    for process in tree(pid):
        try:
            times = process.cpu_times()
            total += times.user + times.system + (times.children_user + times.children_system)
        except psutil.Error:
            continue
    return total


def size_of(folder: Path) -> int:
    """Return the bytes of the files below a folder, in which files come and go."""
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size if path.is_file() else 0
        except OSError:
            continue
    return total


@contextmanager
def cluster(workers: int, folder: Path) -> Iterator[tuple[str, list[int]]]:
    """Run a scheduler, and workers with a core each; yield the address and the workers' process ids."""
    folder.mkdir()
    cores = sorted(os.sched_getaffinity(0))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
    module = [sys.executable, "-P", "-m"]
    port = address.rpartition(":")[2]
    commands = [[*module, "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", port, "--no-dashboard"]]
    for number in range(workers):
        pin = ["taskset", "-c", str(cores[number % len(cores)])] if shutil.which("taskset") else []
        worker = ["distributed.cli.dask_worker", address, "--no-nanny", "--nthreads", "1", "--no-dashboard"]
        options = ["--memory-limit", "0", "--local-directory", str(folder / str(number))]
        commands.append([*pin, *module, *worker, *options])
    with ExitStack() as stack:
        started = []
        for words in commands:
            process = subprocess.Popen(
                words, env=environment(PYTHONHASHSEED="0"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            stack.callback(process.wait)
            stack.callback(process.kill)
            started.append(process.pid)
        wait_for(address, workers)
        yield address, started[1:]


def wait_for(address: str, workers: int) -> None:
    import distributed

    with distributed.Client(address, timeout=60, set_as_default=False) as client:
        client.wait_for_workers(workers, timeout=120)


def on_workers(workers: int, manifest: Path, folder: Path, jobs: Sequence[str]) -> dict[str, dict[str, float]]:
    """Run `jobs` on a cluster; return for each its seconds, and the processor seconds of the busiest worker."""
    found = {}
    with cluster(workers, folder) as (address, pids):
        for stage in STAGES[: 1 + max(map(STAGES.index, jobs))]:
            before = [cpu_of(pid) for pid in pids]
            words = command(stage, folder / "out", *options_of(stage, manifest))
            words += ["--engine", "dask", "--scheduler", address]
            done = subprocess.run(words, env=environment(), capture_output=True, text=True)
            if done.returncode:
                raise RuntimeError(f"{' '.join(words)}\n{done.stderr}")
            used = [cpu_of(pid) - start for pid, start in zip(pids, before, strict=True)]
            seconds = {match["job"]: float(match["seconds"]) for match in LINE.finditer(done.stderr)}
            found[stage] = {"seconds": seconds.get(stage, 0.0), "busiest_cpu_s": max(used), "cpu_s": sum(used)}
    return {job: found[job] for job in jobs}


def write_inputs(folder: Path, options: Options, endpoint: str) -> Path:
    """Write the videos, each another one, a text tokenizer, and a manifest with the addresses and captions."""
    lines = []
    for number in range(options.videos):
        path = folder / "videos" / f"{number}.mp4"
        write_texture_video(path, frames=25 * options.seconds, size=options.size, seed=number)
        row = {"uri": f"{endpoint}/videos/{number}.mp4", "kind": "video", "captions": [CAPTION.format(number)]}
        lines.append(json.dumps(row))
    train_text_tokenizer([CAPTION, CAPTION], folder / "text.model", TextTrainConfig(vocab_size=512))
    (folder / "manifest.jsonl").write_text("\n".join(lines) + "\n")
    return folder / "manifest.jsonl"


def main(options: Options) -> None:
    """Print both tables, and write the figures."""
    if options.smoke:
        options = Options(videos=2, seconds=1, repeat=1, size=(192, 128), jobs=JOBS[:1], smoke=True, out=options.out)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "server").mkdir()
        with static_server(folder, folder / "server") as server:
            manifest = write_inputs(folder, options, server.endpoint)
            hours = options.videos * options.seconds / 3600
            inputs = size_of(folder / "videos")
            stages = measure_stages(manifest, folder, STAGES[: 1 if options.smoke else None])
            print_stages(stages, hours, inputs, options.videos)
            runs = [
                {n: on_workers(n, manifest, folder / f"run-{turn}-{n}", options.jobs) for n in (1, 2)}
                for turn in range(options.repeat)
            ]
            print_workers(runs)
    if options.out:
        figures = {"hours": hours, "stages": [asdict(usage) for usage in stages], "workers": runs}
        options.out.write_text(json.dumps(figures, indent=1) + "\n")


def measure_stages(manifest: Path, folder: Path, stages: Sequence[str]) -> list[Usage]:
    """Run stages one after the other in one workspace."""
    out = folder / "out"
    return [
        sized(stage, command(stage, out, *options_of(stage, manifest)), folder / f"scratch-{stage}") for stage in stages
    ]


def print_stages(stages: Sequence[Usage], hours: float, inputs: int, videos: int) -> None:
    """Print what each stage used."""
    print(f"{videos} videos, {hours * 60:.1f} minutes, {inputs / 1e6:.0f} MB, {inputs / videos / 1e6:.1f} MB each")
    print(f"{'stage':10}{'s':>7}{'CPU s':>8}{'CPU h per h':>13}{'all MB':>9}{'largest MB':>12}{'scratch MB':>12}")
    for usage in stages:
        print(
            f"{usage.stage:10}{usage.wall_s:7.1f}{usage.cpu_s:8.1f}{usage.cpu_s / 3600 / hours:13.2f}"
            f"{usage.peak_bytes / 1e6:9.0f}{usage.largest_bytes / 1e6:12.0f}{usage.scratch_bytes / 1e6:12.1f}"
        )


def print_workers(runs: Sequence[dict[int, dict[str, dict[str, float]]]]) -> None:
    """Print how two workers compare with one."""
    print(
        f"{'job':10}{'1 worker s':>12}{'2 workers s':>13}{'ratio':>7}{'CPU s':>8}{'busier CPU s':>14}{'CPU ratio':>11}"
    )
    for run in runs:
        for job, one in run[1].items():
            two = run[2][job]
            print(
                f"{job:10}{one['seconds']:13.1f}{two['seconds']:13.1f}{one['seconds'] / two['seconds']:13.2f}"
                f"{one['cpu_s']:13.1f}{two['busiest_cpu_s']:13.1f}{one['cpu_s'] / two['busiest_cpu_s']:13.2f}"
            )


if __name__ == "__main__":
    main(tyro.cli(Options))
