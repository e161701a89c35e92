"""The workspace: the folder `--out` of a run, and its layout.

OUT/workspace.json            the number of units that the work is divided into; it grows with the items
OUT/manifest.parquet          the items, sorted by unit and address, with the cause of those that are absent
OUT/survey/64/unit-00000.parquet …       what the survey found about each item, here in 64 units
OUT/signatures/64/unit-00000.parquet …   samples for the near-duplicate search, and thumbnails
OUT/pairs.parquet             items that share content; pairs.json has the fingerprint of the search
OUT/dedup/ …                  intermediate files of that search; deleted when it ends
OUT/selection/64/unit-00000.parquet …    the rows with verdict and split
OUT/tokens/64/unit-00000.parquet …       the token store
OUT/tokenizers/text/          the text tokenizer; text.json has the SHA-256 of its files
OUT/packed/4096/ …            one dataset per context length or stage of a curriculum
OUT/takedown/ …               block list, receipts and progress of `longreel takedown`
OUT/histograms/4096/ …        length histograms for planning one; deleted when it is written
OUT/quarantine.parquet        every rejected item with its reason
OUT/report.html               written by `longreel report`
OUT/logs/                     records of runs (pipeline.runtime.job_log); commands with their configuration
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.runtime.job_log import JobLog
from pipeline.runtime.units import read_rows, unit_files, unit_name
from schemas.errors import ConfigError, DatasetError
from schemas.files import read_json, write_json
from schemas.fingerprint import bucket
from schemas.storage.lease import lease
from schemas.storage.location import Location, located
from schemas.tables import write_table

LAYOUT_VERSION = 2
REPORT = "report.html"
MAX_UNITS = 99_999  # names of units have five digits
_GROUP_ROWS = 64  # so that one row of a unit can be read without the others


@dataclass
class Workspace:
    """Paths below `root`, and the number of units; a hash of its identity assigns an item to one.

    The number is part of the paths of the files of units; `pipeline.runtime.growth` increases it.
    """

    root: Location
    units: int
    grows: bool = False  # whether the survey chooses the number

    @classmethod
    def open(cls, root: Location | Path, *, units: int | None = None) -> Workspace:
        """Open the workspace at `root`, or create it with `units` units; an existing one keeps its number.

        Without `units`, the survey chooses the number. Raises ConfigError if `root` is a file, contains other files, or
        has the layout of another version.
        """
        root = located(root)
        if (opened := cls._read(root)) is not None:
            return opened
        if units is not None and not 1 <= units <= MAX_UNITS:
            raise ConfigError(f"units must be from 1 to {MAX_UNITS:,}, got {units}")
        if root.exists():
            raise ConfigError(f"--out {root} is not empty and not a Longreel workspace; choose a new folder")
        created = cls(root, units or 1, grows=units is None)
        created.save()
        return created

    @classmethod
    def existing(cls, root: Location | Path) -> Workspace:
        """Open an existing workspace; raises ConfigError if there is none."""
        if (opened := cls._read(located(root))) is None:
            raise ConfigError(f"{root} is not a Longreel workspace (it has no workspace.json)")
        return opened

    @classmethod
    def _read(cls, root: Location) -> Workspace | None:
        marker = root / "workspace.json"
        try:
            values = read_json(marker)
            version = values["version"]
            opened = cls(root, int(values["units"]), bool(values["grows"]))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (DatasetError, ValueError, KeyError, TypeError) as e:
            raise ConfigError(
                f"{marker} is not a workspace file: {e}; copy it from another workspace with the same --units"
            ) from e
        if version != LAYOUT_VERSION:
            raise ConfigError(f"{root} was made by version {version} of the layout; this is {LAYOUT_VERSION}")
        return opened

    def save(self) -> None:
        """Write the number of units to workspace.json: from now on, readers use the files of this number."""
        values = {"version": LAYOUT_VERSION, "units": self.units, "grows": self.grows}
        write_json(self.root / "workspace.json", values)

    @contextmanager
    def locked(self) -> Iterator[Workspace]:
        """Exclude other commands while the body runs, and delete temporary files that a killed one left.

        Raises LeaseHeld if another command holds the workspace (schemas.storage.lease).
        """
        owner = f"{socket.gethostname()}, process {os.getpid()}"
        with lease(self.root / "workspace.json", owner=owner):
            for folder in (self.root, self.survey, self.signatures, self.selection, self.tokens):
                for temporary in folder.temporary():
                    temporary.delete()
            yield self

    @property
    def manifest(self) -> Location:
        """The normalized manifest."""
        return self.root / "manifest.parquet"

    @property
    def survey(self) -> Location:
        """Folder of survey units."""
        return self.root / "survey" / str(self.units)

    @property
    def signatures(self) -> Location:
        """Folder of signature units, one per survey unit."""
        return self.root / "signatures" / str(self.units)

    @property
    def pairs(self) -> Location:
        """The table of items that share content."""
        return self.root / "pairs.parquet"

    @property
    def dedup(self) -> Location:
        """Folder of intermediate files of the search for shared content."""
        return self.root / "dedup"

    @property
    def selection(self) -> Location:
        """Folder of selection units."""
        return self.root / "selection" / str(self.units)

    @property
    def selection_marker(self) -> Location:
        """The file that completes a selection."""
        return self.selection / "selection.json"

    @property
    def tokens(self) -> Location:
        """Folder of the token store."""
        return self.root / "tokens" / str(self.units)

    @property
    def quarantine(self) -> Location:
        """The table of all rejected items."""
        return self.root / "quarantine.parquet"

    @property
    def packed_folder(self) -> Location:
        """Folder of all datasets."""
        return self.root / "packed"

    def packed(self, name: str | int) -> Location:
        """Folder of a dataset, named after its context length or stage of a curriculum."""
        return self.packed_folder / str(name)

    def datasets(self) -> list[Location]:
        """Return the folders of all datasets, finished or not: 4096 before 32768, and others by their names."""
        named = {folder.name: folder for folder in self.packed_folder.list() if not folder.name.startswith(".")}
        order = sorted(named, key=lambda name: (len(name) if name.isdecimal() else 0, name))
        return [named[name] for name in order if named[name].is_folder()]

    @property
    def takedown(self) -> Location:
        """Folder of block list and receipts of `longreel takedown`."""
        return self.root / "takedown"

    def length_histograms(self, name: str) -> Location:
        """Folder of length histograms for planning a dataset."""
        return self.root / "histograms" / name

    @property
    def text_tokenizer(self) -> Location:
        """Folder of the text tokenizer; see pipeline.runtime.kept_tokenizer."""
        return self.root / "tokenizers" / "text"

    @property
    def logs(self) -> Location:
        """Folder of the records of runs (pipeline.runtime.job_log) and of commands with their configuration."""
        return self.root / "logs"

    def start_log(self, job: str) -> JobLog:
        """Return the records of a run of a job that begins."""
        return JobLog.start(self.logs, job)

    def unit_of(self, identity: str) -> int:
        """Return the unit an address (survey) or a document id (selection, tokens) belongs to."""
        return bucket(identity, self.units)


def write_table_unit(directory: Location, unit: int, table: pa.Table) -> None:
    """Replace one unit of a folder of tables."""
    write_table(directory / f"{unit_name(unit)}.parquet", table, row_group_size=_GROUP_ROWS)


def read_table_unit(directory: Location, unit: int, schema: pa.Schema) -> pa.Table:
    """Read one unit; a missing or damaged one, or one of another version, is empty, so that it is computed again."""
    try:
        return read_rows(directory / f"{unit_name(unit)}.parquet", schema)
    except DatasetError:
        return schema.empty_table()


def read_units(directory: Location, schema: pa.Schema, columns: Sequence[str] | None = None) -> pa.Table:
    """Read all units of a folder of tables, all columns or some.

    Raises DatasetError if the folder does not exist or a unit is damaged.
    """
    if not (files := unit_files(directory)) and not directory.is_folder():
        raise DatasetError(f"{directory} does not exist: run the job before this one first")
    empty = schema.empty_table()
    tables = (read_rows(path, schema, columns) for path in files)
    return pa.concat_tables([empty.select(columns) if columns else empty, *tables])


def drop_units(directory: Location, keep: Iterable[int]) -> None:
    """Delete the units of a folder of tables other than those in `keep`."""
    names = {f"{unit_name(unit)}.parquet" for unit in keep}
    for path in unit_files(directory):
        if path.name not in names:
            path.delete()


def usable(table: pa.Table) -> pa.Table:
    """Return the rows that are not rejected."""
    return table.filter(pc.is_null(table["reason"]))
