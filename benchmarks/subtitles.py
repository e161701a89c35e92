"""Compares subtitle parsers on the subtitle files in the source distributions of pysrt, srt and webvtt-py.

    python benchmarks/subtitles.py [--smoke] [--out subtitles.json]

The files are downloaded with pip and the libraries installed into a temporary folder. CUES records the right cues of
every file (number, and a checksum of times to the millisecond and text without formatting): every difference between
two parsers was decided by hand. Where a line has no time or a time cannot be read, only a rejection is right, because
any reading loses the line or puts it into another cue. A parser is *right* on a file, *rejects* it, or is *wrong*:
other cues without an error. For every parser the wrong files are printed. `--smoke` uses generated files and the
installed libraries.
"""

from __future__ import annotations

import hashlib
import importlib
import io
import json
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import pysubs2
import tyro

from pipeline.text.encoding import decode
from pipeline.text.transcripts.cue_text import clean_lines, substation_text, timed_text
from pipeline.text.transcripts.reading import TranscriptConfig, parse_transcript
from pipeline.text.transcripts.timed_text import parse_timed_text

PACKAGES = ("pysrt", "srt", "webvtt-py")
SUFFIXES = (".srt", ".vtt", ".sbv")
TIMES_ONLY = ("capability_tester.srt",)  # it tests how players render tags that do not exist
ENCODINGS = {"windows-1252.srt": "cp1252", "gb2312.srt": "gb2312"}
Events = list[tuple[float, float, str]]

# Number of right cues, and the first digits of their checksum; 0 cues with "" where only a rejection is right.
CUES: dict[str, tuple[int, str]] = {
    "ascii.srt": (3, "b3b0b5ef"),
    "bom-utf-16-be.srt": (7, "d7dda4fa"),
    "bom-utf-16-le.srt": (7, "d7dda4fa"),
    "bom-utf-32-be.srt": (7, "d7dda4fa"),
    "bom-utf-32-le.srt": (7, "d7dda4fa"),
    "bom-utf-8.srt": (7, "d7dda4fa"),
    "capability_tester.srt": (37, "1aa1f1e6"),
    "captions_with_bom.vtt": (4, "7913454a"),
    "comments.vtt": (3, "afc6ec91"),
    "cue_tags.vtt": (3, "a36168ab"),
    "empty.srt": (5, "26adc1e5"),
    "empty.vtt": (0, ""),
    "gb2312.srt": (3, "d3b343ce"),
    "invalid.srt": (1, "b99e8d84"),
    "invalid.vtt": (7, "cb49c69f"),
    "invalid_format.sbv": (0, ""),
    "invalid_format1.srt": (0, ""),
    "invalid_format2.srt": (0, ""),
    "invalid_format3.srt": (0, ""),
    "invalid_format4.srt": (0, ""),
    "invalid_timeframe.sbv": (0, ""),
    "invalid_timeframe.srt": (5, "f6755841"),
    "invalid_timeframe.vtt": (0, ""),
    "invalid_timeframe_in_cue_text.vtt": (3, "622428b5"),
    "metadata_headers.vtt": (2, "662b5725"),
    "metadata_headers_multiline.vtt": (2, "662b5725"),
    "missing_caption_text.sbv": (4, "4f78e4d5"),
    "missing_caption_text.srt": (4, "42f5ef6d"),
    "missing_caption_text.vtt": (4, "42f5ef6d"),
    "missing_timeframe.sbv": (4, "7ad4a61e"),
    "missing_timeframe.srt": (0, ""),
    "missing_timeframe.vtt": (0, ""),
    "netflix_chicas_del_cable.vtt": (865, "423c2470"),
    "no-indexes.srt": (7, "d7dda4fa"),
    "no_captions.vtt": (0, "4f53cda1"),
    "non_padded_timestamps.vtt": (3, "4f15f992"),
    "one_caption.srt": (1, "70a92833"),
    "one_caption.vtt": (1, "70a92833"),
    "regions.vtt": (2, "c4de91eb"),
    "sample.sbv": (5, "f848b356"),
    "sample.srt": (5, "f6755841"),
    "sample.vtt": (16, "2911e1a3"),
    "styles.vtt": (1, "a2183f6b"),
    "styles_colours.srt": (6, "82c93f08"),
    "styles_colours.vtt": (6, "82c93f08"),
    "styles_with_comments.vtt": (1, "a2183f6b"),
    "two_captions.sbv": (2, "087eddf5"),
    "using_identifiers.vtt": (6, "113aeec2"),
    "utf-8.srt": (1332, "68e6d3eb"),
    "windows-1252.srt": (1332, "68e6d3eb"),
    "youtube_dl.vtt": (4, "4f12b03d"),
}


def ours(path: Path) -> Events:
    parse_transcript(
        path.read_bytes(), TranscriptConfig(encoding=ENCODINGS.get(path.name))
    )  # rejects files without cues
    return parse_timed_text(_text(path).split("\n"))  # before rolling captions are unrolled, which no other parser does


def read_pysubs2(path: Path) -> Events:
    return [(e.start / 1000, e.end / 1000, e.plaintext) for e in pysubs2.SSAFile.from_string(_text(path))]


def read_pysrt(path: Path) -> Events:
    found = importlib.import_module("pysrt").from_string(_text(path))
    return [(item.start.ordinal / 1000, item.end.ordinal / 1000, item.text) for item in found]


def read_srt(path: Path) -> Events:
    found = importlib.import_module("srt").parse(_text(path))
    return [(item.start.total_seconds(), item.end.total_seconds(), item.content) for item in found]


def read_webvtt(path: Path) -> Events:
    found = importlib.import_module("webvtt").from_buffer(io.StringIO(_text(path)), format=path.suffix[1:])
    return [(_seconds(item.start), _seconds(item.end), item.raw_text) for item in found]


def read_ffmpeg(path: Path) -> Events:
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, path.name)
        copy.write_text(_text(path), encoding="utf-8")
        with av.open(str(copy)) as container:
            packets = [p for p in container.demux(container.streams.subtitles[0]) if p.size]
            return [
                (float(p.pts * p.time_base), float((p.pts + p.duration) * p.time_base), substation_text(_ass(rect)))
                for p in packets
                for rect in p.decode()
            ]


PARSERS: dict[str, tuple[Callable[[Path], Events], tuple[str, ...]]] = {
    "longreel": (ours, SUFFIXES),
    "pysubs2": (read_pysubs2, (".srt", ".vtt")),
    "pysrt": (read_pysrt, (".srt",)),
    "srt": (read_srt, (".srt",)),
    "webvtt-py": (read_webvtt, SUFFIXES),
    "FFmpeg": (read_ffmpeg, SUFFIXES),
}


@dataclass(frozen=True)
class Options:
    """Command line."""

    smoke: bool = False
    out: Path | None = None


def main(options: Options) -> None:
    with tempfile.TemporaryDirectory() as folder:
        files = list(_generated(Path(folder)) if options.smoke else _downloaded(Path(folder)))
        expected = {path: _checksum(ours(path)) if options.smoke else CUES[path.name] for path in files}
        results: dict[str, dict[str, Any]] = {}
        for name, (parse, suffixes) in PARSERS.items():
            if options.smoke and name in ("pysrt", "srt", "webvtt-py"):
                continue
            outcomes = {p.name: _outcome(parse, p, expected[p]) for p in files if p.suffix in suffixes}
            counts = [sum(o == kind for o in outcomes.values()) for kind in ("right", "rejected", "wrong")]
            wrong = [file for file, outcome in outcomes.items() if outcome == "wrong"]
            results[name] = dict(zip(("right", "rejected", "wrong"), counts, strict=True)) | {"files": wrong}
            print(f"{name:10} {counts[0]:3} right {counts[1]:3} rejected {counts[2]:3} wrong  {' '.join(wrong)}")
    if options.out:
        options.out.write_text(json.dumps(results, indent=1))


def _outcome(parse: Callable[[Path], Events], path: Path, expected: tuple[int, str]) -> str:
    try:
        found = _checksum(parse(path), with_text=path.name not in TIMES_ONLY)
    except Exception:  # noqa: BLE001 - each library has its own errors
        return "right" if expected == (0, "") else "rejected"
    return "right" if found == expected else "wrong"


def _checksum(events: Events, *, with_text: bool = True) -> tuple[int, str]:
    """Return the number of cues that are not blank, and a checksum of their times and text in order of time."""
    cleaned = [(round(s * 1000), round(max(s, e) * 1000), clean_lines(timed_text(text))) for s, e, text in events]
    cues = sorted(dict.fromkeys(cue for cue in cleaned if cue[2]))
    compared = cues if with_text else [cue[:2] for cue in cues]
    return len(cues), hashlib.sha256(repr(compared).encode()).hexdigest()[:8]


def _downloaded(folder: Path) -> Iterator[Path]:
    """Install the libraries, and yield the subtitle files of their source distributions."""
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "install", "--target", folder / "libraries", *PACKAGES], check=True)
    sources = ["--no-deps", "--no-binary", ":all:", "--dest", folder / "sources", *PACKAGES]
    subprocess.run([*pip, "download", *sources], check=True)
    sys.path.append(str(folder / "libraries"))
    for archive in sorted((folder / "sources").glob("*.tar.gz")):
        with tarfile.open(archive) as tar:
            tar.extractall(folder / "files", filter="data")
    yield from sorted(path for path in (folder / "files").rglob("*") if path.suffix in SUFFIXES)


def _generated(folder: Path) -> Iterator[Path]:
    written = pysubs2.SSAFile()
    for number in range(20):
        written.append(pysubs2.SSAEvent(start=2000 * number, end=2000 * number + 1500, text=f"line {number}"))
    for suffix in (".srt", ".vtt"):
        written.save(str(folder / f"generated{suffix}"))
        yield folder / f"generated{suffix}"


def _text(path: Path) -> str:
    encoding = ENCODINGS.get(path.name)
    data = path.read_bytes()
    return (data.decode(encoding) if encoding else decode(data).text).replace("\r\n", "\n")


def _ass(rect: Any) -> str:
    return str(rect.ass.decode().split(",", 8)[-1])


def _seconds(time: str) -> float:
    hours, minutes, seconds = time.split(":")
    return int(hours) * 3600 + int(minutes) * 60 + float(seconds)


if __name__ == "__main__":
    main(tyro.cli(Options))
