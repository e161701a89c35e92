"""Measures how well and how fast shot boundaries are found, compared with PySceneDetect's detectors and their defaults.

    python benchmarks/shots.py [--smoke] [--samples DIR] [--videos 4] [--out shots.json]

Takes of the sample films (ranges without a cut, found by eye) are joined to videos of 640x360 at 25 frames per second,
H.264: half of the joints are cuts, a quarter are fades through black, a quarter are dissolves. The takes form two
halves. Our thresholds were tuned on the first; the figures that count are those of the second, which shares no take
with it, and of three unmodified films. The sample films are fetched to DIR if they are not there. `--smoke` uses
generated takes instead.

A shot counts as found if its start lies within two frames of the cut, or within the fade or dissolve and two frames
around it; each start counts once, all others are false positives. PySceneDetect's detectors run through
`scenedetect.detect`. Cost is CPU time per frame of this process and the decoder's, the best of several runs; ours is
added to a decode that is needed anyway, PySceneDetect's includes its own.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np
import psutil
import scenedetect
import tyro
from numpy.typing import NDArray
from scenedetect import detectors
from support.textures import write_texture_video

from pipeline.sources.samples.media import get_samples
from pipeline.video.decoder import DecodeConfig, Decoder
from pipeline.video.shots.detector import Shots

SIZE, RATE, TOLERANCE = (640, 360), 25, 2
Frames = NDArray[np.uint8]


class Take(NamedTuple):
    """Frames first..end-1 of a film: one shot."""

    film: str
    first: int
    end: int


class Joint(NamedTuple):
    """A shot boundary: frames first..last belong to both shots; for a cut, first is the start of the new shot."""

    kind: str
    first: int
    last: int


TUNED = [
    Take("bikes.mp4", 31, 66),
    Take("bikes.mp4", 77, 136),
    Take("bikes.mp4", 138, 186),
    Take("bikes.mp4", 188, 241),
    Take("testMovie.mp4", 0, 237),
    Take("carphone_pristine.mp4", 0, 120),
    Take("default.mp4", 0, 240),
    Take("single_face.mp4", 0, 72),
    Take("trailer_bbb.mp4", 268, 312),
    Take("trailer_bbb.mp4", 600, 742),
    Take("trailer_bbb.mp4", 910, 985),
    Take("face_noface.mov", 0, 65),
]
HELD_OUT = [
    Take("WolfgangLanger_Pexels.mp4", 0, 472),
    Take("bigbuckbunny.mp4", 0, 132),
    Take("cityCC0.mpg", 0, 95),
    Take("cityCC0.mpg", 125, 178),
    Take("jwpIntro.mp4", 0, 173),
    Take("world.mp4", 0, 900),
    Take("trailer_bbb.mp4", 360, 590),
    Take("trailer_bbb.mp4", 795, 860),
    Take("trailer_bbb.mp4", 990, 1046),
    Take("trailer_bbb.mp4", 1052, 1096),
]
FILMS = {
    "bikes.mp4": [Joint("cut", n, n) for n in (30, 76, 137, 187, 242)],
    "cityCC0.mpg": [Joint("cut", 116, 116)],
    "trailer_bbb.mp4": [
        *(Joint("fade", *ends) for ends in ((216, 264), (312, 360), (742, 793), (1200, 1256))),
        *(Joint("cut", n, n) for n in (593, 864, 900, 988, 1049)),
        Joint("dissolve", 1100, 1150),
    ],
}
THEIRS: dict[str, Callable[[], Any]] = {
    "ContentDetector": detectors.ContentDetector,
    "AdaptiveDetector": detectors.AdaptiveDetector,
    "ThresholdDetector": detectors.ThresholdDetector,
    "HistogramDetector": detectors.HistogramDetector,
}


@dataclass(frozen=True)
class Options:
    """Measure shot detection."""

    samples: Path = Path(tempfile.gettempdir()) / "longreel-samples"  # fetched if they are not there
    videos: int = 4  # composed of each half
    joints: int = 12  # in each video
    seed: int = 0
    repeat: int = 3
    smoke: bool = False  # one short video of generated takes per half, in a few seconds
    out: Path | None = None  # write the figures to this JSON file


class Material(NamedTuple):
    """The films to compose videos from, and films with known joints."""

    folder: Path
    tuned: list[Take]
    held_out: list[Take]
    films: dict[str, list[Joint]]


def sample_material(samples: Path) -> Material:
    return Material(get_samples(samples).parent / "videos", TUNED, HELD_OUT, FILMS)


def generated_material(folder: Path) -> Material:
    """Write four films of one take each."""
    takes = [Take(f"texture-{seed}.mp4", 0, 60) for seed in range(4)]
    for seed, take in enumerate(takes):
        write_texture_video(folder / take.film, frames=take.end, size=(320, 180), seed=seed, block=60)
    return Material(folder, takes[:2], takes[2:], {})


def read_take(folder: Path, take: Take, start: int, length: int) -> Frames:
    frames = []
    with av.open(str(folder / take.film)) as container:
        for number, frame in enumerate(container.decode(video=0)):
            if number >= take.first + start + length:
                break
            if number >= take.first + start:
                frames.append(frame.to_ndarray(format="rgb24", width=SIZE[0], height=SIZE[1]))
    return np.stack(frames)


def draw_segments(takes: Sequence[Take], count: int, rng: np.random.Generator) -> Iterator[tuple[Take, int, int]]:
    last = -1
    for _ in range(count):
        while (index := int(rng.integers(len(takes)))) == last:
            pass
        last, size = index, takes[index].end - takes[index].first
        length = min(size, int(rng.integers(40, 100)))
        yield takes[index], int(rng.integers(0, size - length + 1)), length


def compose(path: Path, folder: Path, takes: Sequence[Take], joints: int, rng: np.random.Generator) -> list[Joint]:
    """Write a video and return its joints."""
    truth: list[Joint] = []
    segments = (read_take(folder, *segment) for segment in draw_segments(takes, joints + 1, rng))
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=RATE, options={"preset": "veryfast", "crf": "23"})
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        written = 0

        def write(frames: Frames) -> None:
            nonlocal written
            for pixels in frames:
                frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
                frame.pts, frame.time_base = written, Fraction(1, RATE)
                container.mux(stream.encode(frame))
                written += 1

        current = next(segments)
        for following in segments:
            kind = str(rng.choice(["cut", "fade", "dissolve"], p=[0.5, 0.25, 0.25]))
            half = min(len(current), len(following)) // 2
            if kind == "cut":
                write(current)
                truth.append(Joint(kind, written, written))
            elif kind == "fade":
                out, black, into = (int(n) for n in rng.integers((8, 0, 8), (21, 11, 21)))
                out, into = min(out, half), min(into, half)
                write(current[:-out])
                first = written
                write(blend(current[-out:], 0, np.linspace(1, 0, out + 1)[1:]))
                write(np.zeros((black, *current.shape[1:]), np.uint8))
                write(blend(following[:into], 0, np.linspace(0, 1, into + 1)[:-1]))
                truth.append(Joint(kind, first, written))
                following = following[into:]
            else:
                length = min(int(rng.integers(10, 31)), half)
                write(current[:-length])
                first = written
                write(blend(current[-length:], following[:length], np.linspace(1, 0, length + 2)[1:-1]))
                truth.append(Joint(kind, first, written))
                following = following[length:]
            current = following
        write(current)
        container.mux(stream.encode(None))
    return truth


def blend(one: Frames, other: Frames | int, share: NDArray[np.float64]) -> Frames:
    share = share[:, None, None, None].astype(np.float32)
    return (one * share + other * (1 - share)).round().astype(np.uint8)


def count(found: Sequence[float], truth: Sequence[Joint]) -> Counter[str]:
    """Count the joints found, by kind, and false positives; `found` are frame numbers."""
    left, counts = sorted(found), Counter[str]()
    for joint in truth:
        near = [f for f in left if joint.first - TOLERANCE <= f <= joint.last + TOLERANCE]
        counts[f"all {joint.kind}"] += 1
        if near:
            counts[joint.kind] += 1
            left.remove(near[0])
    counts["false"] = len(left)
    return counts


def figures(counts: Counter[str]) -> dict[str, float]:
    kinds = [name.removeprefix("all ") for name in counts if name.startswith("all ")]
    right, there = sum(counts[kind] for kind in kinds), sum(counts[f"all {kind}"] for kind in kinds)
    precision, recall = right / max(1, right + counts["false"]), right / there
    facts = {"precision": precision, "recall": recall, "f1": 2 * right / (right + counts["false"] + there)}
    return facts | {f"recall of {kind}": counts[kind] / counts[f"all {kind}"] for kind in sorted(kinds)}


def cpu_time_s() -> float:
    own = psutil.Process()
    times = [process.cpu_times() for process in (own, *own.children())]
    return sum(t.user + t.system for t in times)


def frame_rate(path: Path) -> float:
    with av.open(str(path)) as container:
        return float(container.streams.video[0].average_rate or RATE)


def ours(decoder: Decoder, shots: Shots, path: Path) -> tuple[list[float], int]:
    """Return the first frames of all shots but the first, and the number of frames."""
    for _ in decoder.frames(path, shots=shots):
        pass
    report, rate = decoder.report, frame_rate(path)
    if report is None:
        raise RuntimeError("no report")
    return [start * rate for start in report.shots[1:]], report.source_frames


def theirs(make: Callable[[], Any], path: Path) -> tuple[list[float], int]:
    """The same by `scenedetect.detect` with a detector's defaults."""
    scenes = scenedetect.detect(str(path), make())
    return [start.frame_num for start, _ in scenes[1:]], scenes[-1][1].frame_num if scenes else 0


Method = Callable[[Path], tuple[list[float], int]]


def judge(methods: dict[str, Method], videos: dict[Path, list[Joint]]) -> dict[str, dict[str, float]]:
    results = {}
    for name, method in methods.items():
        counts = Counter[str]()
        for path, truth in videos.items():
            counts.update(count(method(path)[0], truth))
        results[name] = figures(counts)
    return results


def costs(methods: dict[str, Method], video: Path, frames: int, repeat: int) -> dict[str, float]:
    """Return milliseconds of CPU time per frame, each the best of several runs; the methods take turns."""
    best = dict.fromkeys(methods, float("inf"))
    for _ in range(repeat):
        for name, method in methods.items():
            began = cpu_time_s()
            method(video)
            best[name] = min(best[name], 1000 * (cpu_time_s() - began) / frames)
    return best


def show(title: str, results: dict[str, dict[str, float]]) -> None:
    columns = list(dict.fromkeys(name for facts in results.values() for name in facts))
    print(f"\n{title:<26}" + "".join(f"{name.removeprefix('recall of '):>11}" for name in columns))
    for name, facts in results.items():
        print(f"  {name:<24}" + "".join(f"{facts[column]:11.3f}" for column in columns))


def measure(
    material: Material, scratch: Path, options: Options, *, cost_videos: Sequence[str]
) -> tuple[dict[str, Any], dict[str, dict[str, float]], int]:
    """Return quality by set of videos, milliseconds per frame by video, and the number of joints held out."""
    halves: dict[str, dict[Path, list[Joint]]] = {}
    for half, takes in (("tuned on", material.tuned), ("held out", material.held_out)):
        rng = np.random.default_rng([options.seed, len(takes)])
        paths = [scratch / f"{half}-{i}.mp4" for i in range(options.videos)]
        halves[half] = {path: compose(path, material.folder, takes, options.joints, rng) for path in paths}
    with Decoder(DecodeConfig()) as decoder:
        own: dict[str, Method] = {"ours (content)": partial(ours, decoder, "content")}
        methods = own | {name: partial(theirs, make) for name, make in THEIRS.items()}
        results = {"held out": judge(methods, halves["held out"]), "tuned on": judge(own, halves["tuned on"])}
        if films := {material.folder / name: truth for name, truth in material.films.items()}:
            results["unmodified films"] = judge(methods, films)
        plain: dict[str, Method] = {"decoded without shots": partial(ours, decoder, "none")}
        spent = {}
        for video in (*(material.folder / name for name in cost_videos), next(iter(halves["held out"]))):
            frames = ours(decoder, "none", video)[1]
            spent[video.name] = costs(plain | methods, video, frames, options.repeat)
    return results, spent, sum(map(len, halves["held out"].values()))


def main(options: Options) -> None:
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        if options.smoke:
            options = replace(options, videos=1, joints=4, repeat=1)
            material, cost_videos = generated_material(Path(folder) / "films"), ()
        else:
            material, cost_videos = sample_material(options.samples), ("bigbuckbunny.mp4",)
        results, spent, joints = measure(material, Path(folder), options, cost_videos=cost_videos)
    for title, facts in results.items():
        show(title, facts)
    for name, milliseconds in spent.items():
        print(f"\nCPU time, ms per frame: {name}")
        for method, ms in milliseconds.items():
            print(f"  {method:<24}{ms:8.3f}")
    print(f"\n{options.videos} videos per half, {joints} joints held out; {time.monotonic() - began:.0f} s in total")
    if options.out:
        options.out.write_text(json.dumps({"quality": results, "ms_per_frame": spent}, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main(tyro.cli(Options))
