"""Measures what the jobs cost around decoding and encoding: start, overhead of `tokenize`, and numbers of workers.

    python benchmarks/jobs.py [VIDEO ...] [--parts overhead] [--repeat 3] [--smoke] [--out jobs.json]

Without VIDEO, videos are generated. Each figure is of a process of its own, the least of `repeat` rounds. The parts:

    overhead  `longreel tokenize` with one worker, and decoding and encoding the same videos without it
              (`jobs_parts/measured.py`). The start ends when the first video is requested of the decoder; both compile
              the encoder after it.
    workers   `longreel run` with its default options and with other numbers of workers. Seconds mean something only on
              an idle machine. All datasets have to be equal.
    ends      When each of two workers of survey and tokenize is done, with the queue of units and as Beam divides them
              (`jobs_parts/ends.py`); the round that ends first. Means something only on an idle machine.
    commands  The start of commands that do little.
"""

from __future__ import annotations

import filecmp
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import tyro
from support.commands import ROOT, children_cpu_s, run_longreel
from support.textures import write_texture_video

from tokenizer.text.training import TextTrainConfig, train_text_tokenizer

MEASURED, ENDS = (Path(__file__).parent / "jobs_parts" / name for name in ("measured.py", "ends.py"))
CONTEXT = 4096
_DECODING = ("survey", "tokenize")
_TIMES = ("start_s", "start_cpu_s", "stage_s", "stage_cpu_s")


@dataclass(frozen=True, kw_only=True)
class Options:
    """Measure the jobs around decoding and encoding."""

    videos: tyro.conf.Positional[tuple[Path, ...]] = ()
    parts: tuple[Literal["overhead", "workers", "ends", "commands"], ...] = ("overhead", "workers", "ends", "commands")
    workers: tuple[int, ...] = (1, 2, 4)  # in `workers`, compared with the default
    repeat: int = 3
    smoke: bool = False  # one round on a small video
    out: Path | None = None  # write the figures to this JSON file


@dataclass(frozen=True)
class Material:
    """The videos, a text tokenizer, and a workspace in which all jobs are done."""

    videos: list[Path]
    text: Path
    workspace: Path

    @classmethod
    def make(cls, folder: Path, options: Options) -> Material:
        """Generate what is missing and run the jobs."""
        videos = [path.resolve() for path in options.videos] or _generated(folder, smoke=options.smoke)
        text = train_text_tokenizer([], folder / "text.model", TextTrainConfig(vocab_size=512))
        made = cls(videos, text, folder / "workspace")
        made.run(made.workspace, "--workers", 1)
        return made

    def run(self, out: Path, *words: object) -> dict[str, float]:
        """Run all jobs, and return the seconds of those that decode, and processor time."""
        used_s, others = children_cpu_s(), ("--select.no-remove-near-duplicates", "--log-level", "warning")
        place = ("--out", out, "--context", CONTEXT, "--text-tokenizer", self.text)
        run_longreel("run", *self.videos, *place, *others, *words, own_process=True)
        jobs = json.loads((out / "logs" / "report.json").read_text())
        seconds = {f"{job['job']}_s": job["seconds"] for job in jobs if job["job"] in _DECODING}
        return seconds | {"cpu_s": children_cpu_s() - used_s}


def main(options: Options) -> None:
    """Measure and print."""
    if options.smoke:
        options = replace(options, videos=(), parts=("overhead", "commands"), repeat=1)
    with tempfile.TemporaryDirectory() as folder:
        material = Material.make(Path(folder), options)
        parts = {"overhead": overhead, "workers": workers, "ends": ends, "commands": commands}
        figures = {part: parts[part](material, options) for part in options.parts}
    if options.out:
        options.out.write_text(json.dumps(figures, indent=2), encoding="utf-8")


def _generated(folder: Path, *, smoke: bool) -> list[Path]:
    frames, size, count = (25, (160, 120), 1) if smoke else (500, (640, 360), 8)
    return [
        write_texture_video(folder / "videos" / f"{seed}.mp4", frames=frames, size=size, seed=seed)
        for seed in range(count)
    ]


def overhead(material: Material, options: Options) -> dict[str, Any]:
    """Compare `longreel tokenize` with decoding and encoding alone."""
    best: dict[str, dict[str, float]] = {}
    for _ in range(options.repeat):
        with _without_tokens(material.workspace) as copy:
            found = {
                "bare": _measured("bare", copy),
                "tokenize": _measured("tokenize", copy, "--text-tokenizer", material.text, "--workers", 1),
            }
        best = {name: {key: min(row[key], best.get(name, row)[key]) for key in _TIMES} for name, row in found.items()}
    print(
        f"\n{len(material.videos)} videos, least of {options.repeat}; processor seconds, wall-clock seconds in brackets"
    )
    for name, row in best.items():
        start, stage = (f"{row[f'{part}_cpu_s']:.2f} ({row[f'{part}_s']:.2f})" for part in ("start", "stage"))
        print(f"{name:>10}: start {start}, then {stage}")
    more = best["tokenize"]["stage_cpu_s"] / best["bare"]["stage_cpu_s"] - 1
    print(f"overhead of the stage {more:.1%}")
    return {"overhead": more, **best}


@contextmanager
def _without_tokens(workspace: Path) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "workspace"
        shutil.copytree(workspace, copy, ignore=shutil.ignore_patterns("tokens", "packed"))
        yield copy


def _measured(name: str, *words: object) -> dict[str, float]:
    found: dict[str, float] = _json_of(MEASURED, name, *words)
    return found


def _json_of(script: Path, *words: object) -> Any:
    command = [sys.executable, "-P", str(script), *map(str, words)]
    done = subprocess.run(command, cwd=ROOT, check=True, env=_environment(), stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def _environment() -> dict[str, str]:
    """Let a script elsewhere import this project, installed or not."""
    return os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}


def workers(material: Material, options: Options) -> dict[str, Any]:
    """Compare numbers of workers with the default."""
    best: dict[str, dict[str, float]] = {}
    settings: dict[str, tuple[object, ...]] = {"default": ()}
    settings |= {str(number): ("--workers", number) for number in options.workers}
    for _ in range(options.repeat):
        for name, words in settings.items():
            with tempfile.TemporaryDirectory() as folder:
                row = material.run(Path(folder) / "workspace", *words)
                _require_equal(Path(folder) / "workspace", material.workspace)
            best[name] = {key: min(value, best.get(name, row)[key]) for key, value in row.items()}
    print(f"\n{len(material.videos)} videos, least of {options.repeat}, {os.cpu_count()} cores")
    for name, row in best.items():
        print(f"{name:>8} workers: " + ", ".join(f"{key} {value:.1f}" for key, value in row.items()))
    return dict(best)


def _require_equal(workspace: Path, other: Path) -> None:
    """Raise an error unless two workspaces have packed the same shards."""
    folder = Path("packed") / str(CONTEXT)
    names = sorted(path.name for path in (other / folder).glob("*.tar"))
    found = sorted(path.name for path in (workspace / folder).glob("*.tar"))
    equal, *_ = filecmp.cmpfiles(workspace / folder, other / folder, names, shallow=False)
    if not names or found != names or sorted(equal) != names:
        raise RuntimeError(f"{workspace}: the dataset differs from that of one worker")


def ends(material: Material, options: Options) -> dict[str, list[float]]:
    """Find out when each of two workers is done, with the queue of units and without it."""
    best: dict[str, list[float]] = {}
    for _ in range(options.repeat):
        for way in ("queue", "divided"):
            with tempfile.TemporaryDirectory() as out:
                place = ("--out", out, "--workers", 2)
                found = {f"survey, {way}": _json_of(ENDS, way, "survey", *material.videos, *place)}
                run_longreel("select", *place, "--no-remove-near-duplicates", own_process=True)
                words = ("tokenize", *place, "--text-tokenizer", material.text)
                found[f"tokenize, {way}"] = _json_of(ENDS, way, *words)
            best |= {name: min(times, best.get(name, times), key=max) for name, times in found.items()}
    print(f"\n{len(material.videos)} videos, best of {options.repeat} rounds; seconds after which the workers are done")
    for name, times in best.items():
        print(f"{name:>18}: " + ", ".join(f"{seconds:.1f}" for seconds in times))
    return best


def commands(material: Material, options: Options) -> dict[str, Any]:
    """Measure how long commands take that do little."""
    packed = material.workspace / "packed" / str(CONTEXT)
    found: dict[str, tuple[float, float]] = {}
    print(f"\nwall-clock seconds, processor seconds; least of {options.repeat}")
    tried = (("--help",), ("verify", packed), ("inspect", packed), ("run", "--help"), ("tokenize", "--help"))
    for words in tried[:2] if options.smoke else tried:
        name = " ".join(str(word) for word in words if word != packed)
        rounds = [_timed(*words) for _ in range(options.repeat)]
        found[name] = least = min(s for s, _ in rounds), min(cpu_s for _, cpu_s in rounds)
        print(f"{name:>16}: {least[0]:.2f}, {least[1]:.2f}")
    return dict(found)


def _timed(*words: object) -> tuple[float, float]:
    command = [sys.executable, "-P", "longreel.py", *map(str, words)]
    began_s, used_s = time.perf_counter(), children_cpu_s()
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - began_s, children_cpu_s() - used_s


if __name__ == "__main__":
    main(tyro.cli(Options))
