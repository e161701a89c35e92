"""A copy of a run's folder in a bucket or another folder: the same files, so that a downloaded copy is a run.

    COPY/run.json                           which run this is a copy of
    COPY/metrics.jsonl, left-out-steps.json, config-from-*.json, text_tokenizer/, tensorboard/
    COPY/checkpoints/120/…                  the files of a checkpoint; checksums.json is written last, and deleted first
    COPY/checkpoints/120/set-aside.json     of a checkpoint after the one that the run went back to

A checkpoint without checksums.json is a half copy. It is never read, and is deleted when the run starts again.
"""

from __future__ import annotations

import json
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from schemas.dataset_files import TEXT_TOKENIZER
from schemas.errors import ConfigError, Conflict, DatasetError, StorageError, storage_errors
from schemas.runs.checkpoint_files import CHECKPOINTS, ITEMS, SET_ASIDE, checkpoint_steps, finished_steps
from schemas.runs.checksums import CHECKSUMS, Checksums
from schemas.runs.metrics import METRICS
from schemas.runs.tensorboard import TENSORBOARD
from schemas.storage.location import Location, located
from trainer.run.divergence import LEFT_OUT

RUN = "run.json"

_TIMES = "_CHECKPOINT_METADATA"  # of Orbax
_FOLDERS = (TEXT_TOKENIZER, TENSORBOARD)
_FILES = (METRICS, "config-from-*.json", LEFT_OUT)
_PARTIAL = "checkpoint-being-copied"


@dataclass(frozen=True, order=True)
class StoredCheckpoint:
    """A complete checkpoint, here or in the copy."""

    step: int
    time: datetime  # when it was written


class RunCopy:
    """The copy of the run in the folder `run` at `place`. One process uses it at a time: see `lock`."""

    def __init__(self, run: Path, place: Location) -> None:
        if place.is_local and _overlap(place, located(run)):
            raise ConfigError(f"copy_to must be a folder apart from out, got {place} with {run}")
        self.run, self.place = run, place
        self.check: Callable[[], None] = lambda: None  # before each file that is sent; it may raise

    @property
    def lock(self) -> Location:
        """The file that a process locks while it uses the copy; `claim` writes it."""
        return self.place / RUN

    def claim(self) -> None:
        """Make this the copy of the run, and the run the one of the copy if it has no checkpoint yet.

        Raises ConfigError if the copy is of another run.
        """
        is_new = not self.lock.exists()
        if is_new:
            with suppress(Conflict):  # another process is faster
                self.lock.write(_identity(self._own() or uuid.uuid4().hex), if_absent=True)
        theirs = _id(self.lock)
        if theirs != self._own():
            if not is_new and (self._own() is not None or finished_steps(self.run)):
                raise ConfigError(
                    f"{self.place} has the copy of another run than {self.run}: choose another --copy-to, or another "
                    "--out to continue that run"
                )
            located(self.run / RUN).write(_identity(theirs))

    def checkpoints(self) -> list[StoredCheckpoint]:
        """Return the complete checkpoints of the copy, in ascending order, without those that are set aside."""
        return [StoredCheckpoint(step, _written(self._at(step))) for step in finished_steps(self.place)]

    def checkpoints_here(self) -> list[StoredCheckpoint]:
        """Return the complete checkpoints in the folder of the run, in ascending order."""
        return [StoredCheckpoint(step, _written(located(self._local(step)))) for step in finished_steps(self.run)]

    def send(self, step: int) -> StoredCheckpoint:
        """Copy a finished checkpoint, and what belongs to the run as a whole.

        Raises StorageError, or FileNotFoundError if the checkpoint was deleted meanwhile.
        """
        folder = self._local(step)
        self.delete(step)
        for place in located(folder).walk():
            name = place.relative_to(located(folder))
            self.check()
            if name != CHECKSUMS:
                _send(place.local(), self._at(step) / name)
        self.send_files()
        _send(folder / CHECKSUMS, self._at(step) / CHECKSUMS)
        return StoredCheckpoint(step, _written(located(folder)))

    def send_files(self) -> None:
        """Copy what belongs to the run as a whole."""
        for place in files_of(located(self.run)):
            _send(place.local(), self.place / place.relative_to(located(self.run)))

    def delete(self, step: int) -> None:
        """Delete a checkpoint of the copy."""
        (self._at(step) / CHECKSUMS).delete()
        self._at(step).delete_folder()

    def delete_half_copies(self) -> None:
        """Delete what a killed process copied of a checkpoint."""
        for step in checkpoint_steps(self.place):
            if not (self._at(step) / CHECKSUMS).exists():
                self._at(step).delete_folder()

    def set_aside_after(self, step: int) -> list[int]:
        """Mark the checkpoints after `step`, to which the run went back; return their steps.

        They are kept until the run writes one of the same step.
        """
        later = [found.step for found in self.checkpoints() if found.step > step]
        for other in later:
            (self._at(other) / SET_ASIDE).write(json.dumps({"resumed_from": step}).encode())
        return later

    def restore(self, step: int | None = None) -> tuple[int | None, list[str]]:
        """Copy the newest intact checkpoint, or that of `step`, and the files of the run into its folder.

        Return its step, None if there is none, and what is wrong with newer ones.
        """
        problems: list[str] = []
        for found in reversed(self.checkpoints()):
            if step is not None and found.step != step:
                continue
            try:
                self._restore(found.step)
            except (DatasetError, FileNotFoundError) as e:
                problems.append(f"{self._at(found.step)}: {e}")
            else:
                return found.step, problems
        return None, problems

    def _restore(self, step: int) -> None:
        partial = self.run / _PARTIAL
        located(partial).delete_folder()
        for place in self._at(step).walk():
            fetch(place, partial / place.relative_to(self._at(step)))
        if (first := next(Checksums(partial, ITEMS).problems(), None)) is not None:
            raise DatasetError(first)
        for place in files_of(self.place):
            fetch(place, self.run / place.relative_to(self.place))
        with storage_errors(self._local(step)):
            self._local(step).parent.mkdir(exist_ok=True)
            partial.rename(self._local(step))

    def _at(self, step: int) -> Location:
        return self.place / CHECKPOINTS / str(step)

    def _local(self, step: int) -> Path:
        return self.run / CHECKPOINTS / str(step)

    def _own(self) -> str | None:
        return _id(located(self.run / RUN)) if located(self.run / RUN).exists() else None


def fetch(place: Location, path: Path) -> None:
    """Write the bytes of an object to a local file, in parts."""
    with located(path).writing() as temporary, place.open() as source, temporary.open("wb") as target:
        shutil.copyfileobj(source, target, 8 << 20)


def _send(path: Path, place: Location) -> None:
    """Write a copy of a local file, which appears as a whole or not at all."""
    if place.is_local:
        with place.writing() as temporary:
            shutil.copyfile(path, temporary)
    else:
        place.put(path)


def files_of(folder: Location) -> Iterator[Location]:
    """Yield the files of a run that belong to no checkpoint."""
    for pattern in _FILES:
        yield from folder.list(pattern)
    for name in _FOLDERS:
        yield from (folder / name).walk()


def _identity(name: str) -> bytes:
    return json.dumps({"run": name}).encode() + b"\n"


def _id(place: Location) -> str:
    try:
        return str(json.loads(place.read())["run"])
    except (ValueError, TypeError, KeyError) as e:
        raise StorageError(f"{place} is damaged: it should name the run that was copied; delete it") from e


def _written(folder: Location) -> datetime:
    """Return when a checkpoint was written, as Orbax recorded it."""
    try:
        nanoseconds = int(json.loads((folder / _TIMES).read())["commit_timestamp_nsecs"])
    except (FileNotFoundError, ValueError, TypeError, KeyError):
        return datetime.min.replace(tzinfo=UTC)
    return datetime.fromtimestamp(nanoseconds / 1e9, tz=UTC)


def _overlap(one: Location, other: Location) -> bool:
    return one.is_relative_to(other) or other.is_relative_to(one)
