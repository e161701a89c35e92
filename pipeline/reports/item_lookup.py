"""Lookup of items by what a user types: address, path, document or content id, or file name."""

from __future__ import annotations

import difflib
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.runtime.manifest_file import read_listed
from pipeline.runtime.units import unit_files
from pipeline.runtime.workspace import Workspace, read_units
from pipeline.sources.addresses import address_of, typed_name
from schemas.counted import counted
from schemas.errors import ConfigError, DatasetError
from schemas.printable import printable
from schemas.records import SURVEY

SHORTEST_PREFIX = 8  # characters of an id
LISTED = 20  # addresses of one content
_NAMED = 5  # items named in a message
_COMPARED = 50_000  # file names compared with a misspelled one, at most


class ItemLookup(NamedTuple):
    """The items of a workspace with the columns that identify them."""

    table: pa.Table  # uri, document_id, content_id, split (the manifest's); ids are null before the survey

    @classmethod
    def of(cls, workspace: Workspace) -> ItemLookup:
        """Read the tables; raises DatasetError if the workspace lists no items yet."""
        columns = ["uri", "document_id", "content_id", "split"]
        schema = pa.schema([SURVEY.field(name) for name in columns])
        found = schema.empty_table()
        if unit_files(workspace.survey):
            found = read_units(workspace.survey, SURVEY, columns)
        if workspace.manifest.exists():
            listed = read_listed(workspace, ["uri", "split"])
            later = listed.filter(pc.invert(pc.is_in(listed["uri"], found["uri"].combine_chunks())))
            nothing = pa.nulls(len(later), pa.string())
            found = pa.concat_tables([found, pa.table([later["uri"], nothing, nothing, later["split"]], schema=schema)])
        if not len(found):
            raise DatasetError(
                f"{workspace.root} lists no items: run `longreel survey INPUT ... --out {workspace.root}` first"
            )
        return cls(found.sort_by("uri"))

    def addresses(self, content_id: str | None, limit: int = LISTED) -> list[str]:
        """Return the addresses of a content, at most `limit`."""
        mask = pc.equal(self.table["content_id"], content_id or "")
        return self.table["uri"].filter(mask).slice(0, limit).to_pylist()

    def find(self, item: str) -> list[str]:
        """Return the addresses that match `item`: several only if they have the same bytes or content.

        `item` is an address, a path, a document or content id, a prefix of one (8 characters or more), or a file name.
        Raises ConfigError if nothing matches, with the nearest names, or if different items match.
        """
        uri = self.table["uri"]
        path, item = address_of(item), typed_name(item)
        for address in (item, path):
            if pc.any(pc.equal(uri, address)).as_py():
                return [address]
        if len(item) >= SHORTEST_PREFIX:
            name = item.partition("#")[0]  # the item id within a clip id
            for column in ("document_id", "content_id"):
                ids = self.table[column]
                rows = self.table.filter(pc.fill_null(pc.starts_with(ids, name), False))
                if names := pc.unique(rows[column]).to_pylist():
                    if len(names) > 1:
                        raise ConfigError(f"the id prefix {item!r} matches {_some(names)}: give more characters")
                    return rows["uri"].unique().to_pylist()
        named = uri.filter(pc.or_(pc.ends_with(uri, f"/{item}"), pc.equal(uri, item))).unique().to_pylist()
        if len(named) > 1:
            raise ConfigError(f"the file name {item!r} matches {_some(named)}: give the full address")
        if named:
            return named
        raise ConfigError(f"no item matches {item!r}; {self._near(item)}")

    def _near(self, item: str) -> str:
        uri = self.table["uri"]
        name = item.rstrip("/").rsplit("/", 1)[-1]
        names = pc.replace_substring_regex(uri, "(?s).*/", "")
        near: list[str] = []
        if name:
            near = uri.filter(pc.match_substring(names, name, ignore_case=True)).slice(0, _NAMED).to_pylist()
        if not near:
            known = names.slice(0, _COMPARED).to_pylist()
            close = dict.fromkeys(difflib.get_close_matches(name, known, n=_NAMED))  # nearest first
            near = [uri.filter(pc.equal(names, other))[0].as_py() for other in close]
        if near:
            return f"nearest: {', '.join(map(printable, near))}"
        return f"the workspace lists {_some(uri.slice(0, _NAMED + 1).to_pylist(), of=len(uri))}"


def _some(names: list[str], of: int | None = None) -> str:
    count = len(names) if of is None else of
    more = " …" if count > _NAMED else ""
    return f"{counted(count, 'item')} ({', '.join(map(printable, names[:_NAMED]))}{more})"
