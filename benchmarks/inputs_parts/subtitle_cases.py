"""Cases of transcripts: clocks, rolling captions, mistakes, names; and the text of duplicates."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

from inputs_parts.case import Case, cue, either, rejected, text, text_on_the_kept
from inputs_parts.media import SIZE, Picture, clip, texture
from tests.support.inputs.media import make_video

Cue = tuple[float, float, str]
_EMBEDDED = {".hidden/subrip.mkv": "subrip", ".hidden/ass.mkv": "ass", ".hidden/mov_text.mp4": "mov_text"}
ROLLING = ("the first line", "then the second", "and now the third", "at last the fourth")
LATE = [(4.0 * n, 4.0 * n + 2, f"line number {n} of the film") for n in range(900)]


def _clock(seconds: float, mark: str) -> str:
    sign, seconds = "-" if seconds < 0 else "", abs(seconds)
    return f"{sign}{int(seconds // 3600):02d}:{int(seconds // 60 % 60):02d}:{seconds % 60:06.3f}".replace(".", mark)


def srt(cues: Sequence[Cue]) -> str:
    """Return the text of an .srt file."""
    lines = (f"{n}\n{_clock(a, ',')} --> {_clock(b, ',')}\n{said}\n" for n, (a, b, said) in enumerate(cues, 1))
    return "\n".join(lines)


def vtt(cues: Sequence[Cue]) -> str:
    """Return the text of a .vtt file."""
    return "WEBVTT\n\n" + "\n".join(f"{_clock(a, '.')} --> {_clock(b, '.')}\n{said}\n" for a, b, said in cues)


def _rolling() -> list[Cue]:
    """Return captions as speech recognition makes them: each cue repeats the line before."""
    cues: list[Cue] = []
    for n, line in enumerate(ROLLING):
        before = ROLLING[n - 1] if n else ""
        cues.append((n, n + 0.99, f"{before}\n{line}".strip()))
        cues.append((n + 0.99, n + 1, line))
    return cues


def _offset(folder: Path) -> None:
    cues = [(3.0, 4.0, "one second after the first frame")]
    for name in ("late.mkv", "edited.mp4", "packets.ts"):
        clip(folder / name, start=16, audio_s=5)  # the video starts after 2 s
        (folder / name).with_suffix(".srt").write_text(srt(cues))
    clip(folder / "plain.mp4")
    (folder / "plain.vtt").write_text(vtt([(1.0, 2.0, "one second after the first frame")]))


def _roll(folder: Path) -> None:
    for name in ("srt.mp4", "vtt.mp4"):
        clip(folder / name, seconds=5)
    (folder / "srt.srt").write_text(srt(_rolling()))
    (folder / "vtt.vtt").write_text(vtt(_rolling()))
    (folder / ".hidden").mkdir()  # listed by the manifest only
    for name, codec in _EMBEDDED.items():
        clip(folder / name, seconds=5, subtitles=_rolling(), subtitle_codec=codec)
    rows = [json.dumps({"uri": name, "transcript": "embedded"}) for name in _EMBEDDED]
    (folder / "manifest.jsonl").write_text("\n".join(rows))


def _past_the_end(folder: Path) -> None:
    clip(folder / "clip.mp4", seconds=6)
    (folder / "clip.srt").write_text(srt(LATE))


def _mistakes(folder: Path) -> None:
    for name in ("negative", "spaces", "overlap", "zero", "notime"):
        clip(folder / f"{name}.mp4", seconds=4)
    first, second = (0.5, 1.0, "the first cue"), (2.0, 3.0, "the second cue")
    (folder / "negative.srt").write_text(srt([(-1.0, 0.5, "before the start"), second]))
    (folder / "spaces.srt").write_text(srt([first, second]).replace("00:00:00,500 -->", "00: 00: 00, 500 -- >"))
    (folder / "overlap.srt").write_text(srt([(0.5, 3.0, "the first cue"), second]))
    (folder / "zero.srt").write_text(srt([(0.5, 0.5, "the first cue"), second]))
    (folder / "notime.srt").write_text("1\nno time\nthe first cue\n\n" + srt([second]))


def _languages(folder: Path) -> None:
    for name, suffixes in {"one": ("en",), "region": ("pt-BR",), "two": ("de", "en"), "forced": ("en.forced",)}.items():
        clip(folder / f"{name}.mp4")
        for suffix in suffixes:
            (folder / f"{name}.{suffix}.srt").write_text(srt([(1.0, 2.0, f"spoken words {suffix}")]))


def _duplicates(folder: Path) -> None:
    clip(folder / "a.mp4", seed=9500)
    shutil.copy(folder / "a.mp4", folder / "b.mp4")
    (folder / "b.txt").write_text("The text of the copy.")
    for name, size in (("large.mp4", (2 * SIZE[0], 2 * SIZE[1])), ("small.mp4", SIZE)):
        make_video(folder / name, frames=64, rate=8, size=size, picture=lambda i, size=size: _scaled(i, size))
    (folder / "small.srt").write_text(srt([(1.0, 2.0, "The transcript of the smaller one.")]))


def _scaled(moment: int, size: tuple[int, int]) -> Picture:
    factor = size[0] // SIZE[0]
    return texture(9501, moment).repeat(factor, 0).repeat(factor, 1)


_ONCE = text(*ROLLING, count=1)
_BOTH = text("the first cue", "the second cue")

CASES = (
    Case(
        "02 clock of a sidecar",
        _offset,
        {
            name: cue("one second after", after_frames=4)
            for name in ("late.mkv", "edited.mp4", "packets.ts", "plain.mp4")
        },
    ),
    Case(
        "03 rolling captions",
        _roll,
        dict.fromkeys(("srt.mp4", "vtt.mp4", *_EMBEDDED), _ONCE),
        tables=("manifest.jsonl",),
    ),
    Case(
        "04 cues outside of the clip",
        _past_the_end,
        {"clip.mp4": text("line number 0 of", "line number 1 of", without=("line number 2 of", "number 899"))},
    ),
    Case(
        "13, 18 mistakes in transcripts",
        _mistakes,
        {
            "negative.mp4": text("the second cue"),
            "spaces.mp4": either(_BOTH, rejected("bad_transcript")),
            "overlap.mp4": _BOTH,
            "zero.mp4": text("the second cue"),
            "notime.mp4": either(text("the second cue"), rejected("bad_transcript")),
        },
    ),
    Case(
        "14 tags of language",
        _languages,
        {f"{name}.mp4": text("spoken words") for name in ("one", "region", "two", "forced")},
    ),
    Case(
        "08 text of duplicates",
        _duplicates,
        {
            "a.mp4": text_on_the_kept("b.mp4", contains="The text of the copy."),
            "large.mp4": text_on_the_kept("small.mp4", contains="The transcript of the smaller one."),
        },
    ),
)
