"""The progress and the receipt of a takedown.

    WORKSPACE/takedown/pending/ID/request.json   what a takedown that has begun removes
    WORKSPACE/takedown/pending/ID/before/…       the SHA-256 of each file before it was first changed, one file each
    WORKSPACE/takedown/receipts/ID.json          what was removed, where and when; never changed or deleted

A receipt has names, hashes and counts, and nothing of the content. It is written when everything was removed; then the
pending folder is deleted. A takedown that was killed is completed by the next one.
"""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.runtime.workspace import Workspace
from pipeline.takedown.find import Found, Related, Target
from schemas.errors import DatasetError
from schemas.files import read_json, write_json
from schemas.fingerprint import sha256_file
from schemas.storage.location import Location, located

_REQUEST, _BEFORE = "request.json", "before"


@dataclass(frozen=True, kw_only=True)
class Request:
    """A takedown that has begun: what it removes, and from where."""

    id: str
    started: str  # ISO 8601, UTC
    items: tuple[str, ...]  # as the user named them
    near_duplicates: bool
    min_containment: float
    found: Found
    selected: tuple[str, ...] = ()  # addresses of targets that the selection has
    also: tuple[str, ...] = ()  # folders outside of the workspace
    models: tuple[str, ...] = ()  # folders with models
    fingerprints: Mapping[str, str] = field(default_factory=dict)  # of the datasets before, by folder

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Request:
        """Return the request that `dataclasses.asdict` and JSON turned into `values`; raises TypeError or KeyError."""
        found = values.pop("found")
        targets = tuple(Target(**target) for target in found.pop("targets"))
        related = tuple(Related(**other) for other in found.pop("related"))
        plain: dict[str, Any] = {n: tuple(value) if isinstance(value, list) else value for n, value in values.items()}
        return cls(**plain, found=Found(**found, targets=targets, related=related))


def new_id() -> str:
    """Return the id of a takedown: the time, and a random part; ids sort by time."""
    return f"{_now():%Y%m%dT%H%M%SZ}-{uuid.uuid4().hex[:8]}"


def started_now() -> str:
    """Return the time in ISO 8601."""
    return _now().isoformat(timespec="seconds")


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


class Journal:
    """The progress of one takedown."""

    def __init__(self, workspace: Workspace, takedown: str) -> None:
        self.id = takedown
        self._root = located(workspace.root)
        self._takedown = located(workspace.takedown)
        self._folder = self._takedown / "pending" / takedown
        self._known = self._read()

    @property
    def receipt(self) -> Location:
        """The place of the receipt."""
        return self._takedown / "receipts" / f"{self.id}.json"

    def begin(self, request: Request) -> None:
        """Write the request: from here on the takedown is completed, whatever happens."""
        write_json(self._folder / _REQUEST, dataclasses.asdict(request))

    def request(self) -> Request:
        """Read the request. Raises DatasetError if it is damaged."""
        path = self._folder / _REQUEST
        try:
            return Request.from_json(read_json(path))
        except (OSError, DatasetError, TypeError, KeyError) as e:
            raise DatasetError(f"{path} cannot be read ({e}); delete its folder and name the items again") from e

    def before(self, place: Location | Path, sha256: str | None = None) -> None:
        """Record the hash of a file that is about to change; of a folder, those of its files."""
        place = located(place)
        if place.stat() is None:
            for part in place.walk():
                self.before(part)
        elif (name := self._name(place)) not in self._known:
            self._known[name] = sha256 or sha256_file(place)
            record = f"{hashlib.sha256(name.encode(errors='surrogatepass')).hexdigest()}.json"
            write_json(self._folder / _BEFORE / record, {"path": name, "sha256": self._known[name]})

    def changes(self) -> list[dict[str, str | None]]:
        """Return each file that is different now, with the hashes before and after; null: there is none."""
        found: list[dict[str, str | None]] = []
        for name, sha256 in sorted(self._known.items()):
            place = Location.parse(name) if _is_outside(name) else self._root / name
            after = sha256_file(place) if place.stat() else None
            if after != sha256:
                found.append({"path": name, "sha256_before": sha256, "sha256_after": after})
        return found

    def finish(self, facts: Mapping[str, Any] | None) -> None:
        """Write the receipt, unless `facts` is None, and delete the record of progress."""
        if facts is not None and not self.receipt.stat():
            write_json(self.receipt, facts)
        self._folder.delete_folder()

    def _name(self, place: Location) -> str:
        """Return an address relative to the workspace, or the whole one if it is outside of it."""
        return place.relative_to(self._root) if place.is_relative_to(self._root) else str(place)

    def _read(self) -> dict[str, str]:
        records = (read_json(place) for place in (self._folder / _BEFORE).list("*.json"))
        return {record["path"]: record["sha256"] for record in records}


def _is_outside(name: str) -> bool:
    return name.startswith("/") or "://" in name


def discard_unbegun(workspace: Workspace) -> None:
    """Delete what a process left that was killed before its request was complete: it has changed nothing."""
    for folder in (located(workspace.takedown) / "pending").list():
        if not (folder / _REQUEST).stat():
            folder.delete_folder()


def pending(workspace: Workspace) -> Sequence[Journal]:
    """Return the takedowns that have begun and are not complete, in order."""
    folders = (located(workspace.takedown) / "pending").list()
    return [Journal(workspace, folder.name) for folder in folders if (folder / _REQUEST).stat()]
