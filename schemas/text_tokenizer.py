"""The files of a text tokenizer in a folder: in a workspace, in a packed dataset, in a training run.

A folder holds the vocabulary (tokenizer.model or tokenizer.json) and tokenizer_config.json, as `transformers` and vLLM
read them. The SHA-256 of each file is recorded elsewhere: in the dataset's card, for example.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from schemas.dataset_files import StoredFile, tokenizer_folder
from schemas.errors import DatasetError
from schemas.files import inside
from schemas.fingerprint import fingerprint, sha256_file
from schemas.storage.location import Location, located


def file_problems(folder: Location | Path, hashes: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield (name, problem) of each file that is missing or differs from its SHA-256."""
    for name, expected in hashes.items():
        try:
            if sha256_file(inside(located(folder), name)) != expected:
                yield name, f"it was altered: its SHA-256 is not {expected}"
        except FileNotFoundError:
            yield name, "it is missing"
        except (OSError, DatasetError) as e:
            yield name, f"it cannot be read: {getattr(e, 'strerror', None) or e}"


def copy_files(source: Location | Path, target: Location | Path, hashes: Mapping[str, str]) -> None:
    """Copy the files of a text tokenizer to the folder `target`, each atomically, and delete others in it.

    Raises DatasetError, with `target` unchanged, if a file is missing or differs from its SHA-256.
    """
    for name, problem in file_problems(source, hashes):
        raise DatasetError(f"{source / name}: {problem}")
    for name in hashes:
        (located(target) / name).write((located(source) / name).read())
    for other in located(target).list():
        if other.name not in hashes:
            other.delete()


def store_files(source: Location | Path, directory: Location, hashes: Mapping[str, str]) -> tuple[StoredFile, ...]:
    """Copy the files of a text tokenizer to a folder of the dataset in `directory`; return them for its card.

    The name of the folder depends on the content, so the tokenizer of an older dataset in the directory remains.
    """
    folder = tokenizer_folder(fingerprint(*sorted(hashes.items())))
    copy_files(source, directory / folder, hashes)
    sizes = {name: len((directory / folder / name).read()) for name in hashes}
    return tuple(StoredFile(name=f"{folder}/{name}", filesize=sizes[name], sha256=hashes[name]) for name in hashes)


@contextmanager
def local_copy(place: Location) -> Iterator[Path]:
    """Yield the path of a local file or folder with the text tokenizer at `place`, for libraries that read it."""
    if place.is_local or place.stat():
        yield place.local()
    else:
        with tempfile.TemporaryDirectory(prefix="longreel-") as folder:
            for file in place.list():
                Path(folder, file.name).write_bytes(file.read())
            yield Path(folder)
