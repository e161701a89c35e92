"""The catalogue: the items of a workspace, found by what people call them: address, path, id, name of a file."""

from __future__ import annotations

import difflib
import os
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.runtime.units import unit_files
from pipeline.runtime.workspace import Workspace, read_units
from schemas.errors import ConfigError, DatasetError
from schemas.records import SURVEY

SHORTEST_PREFIX = 8  # of an id
LISTED = 20  # addresses of a content
_NAMED = 5  # that a message names
_COMPARED = 50_000  # names that a misspelt one is compared with, at most


class Catalogue(NamedTuple):
    """The items of a workspace, found by address, id or name."""

    table: pa.Table  # uri, document_id, content_id, split of the manifest; ids are null before the survey

    @classmethod
    def of(cls, workspace: Workspace) -> Catalogue:
        """Read the catalogue; raises DatasetError where nothing was listed yet."""
        columns = ["uri", "document_id", "content_id", "split"]
        schema = pa.schema([SURVEY.field(name) for name in columns])
        found = schema.empty_table()
        if unit_files(workspace.survey):
            found = read_units(workspace.survey, SURVEY, columns)
        if workspace.manifest.exists():
            listed = pq.read_table(workspace.manifest, columns=["uri", "split"])
            later = listed.filter(pc.invert(pc.is_in(listed["uri"], found["uri"].combine_chunks())))
            nothing = pa.nulls(len(later), pa.string())
            found = pa.concat_tables([found, pa.table([later["uri"], nothing, nothing, later["split"]], schema=schema)])
        if not len(found):
            raise DatasetError(
                f"nothing is listed in {workspace.root}: run `longreel survey INPUT ... --out DIR` first"
            )
        return cls(found.sort_by("uri"))

    def addresses(self, content_id: str | None, limit: int = LISTED) -> list[str]:
        """Return the addresses of a content, the first `limit` of them."""
        mask = pc.equal(self.table["content_id"], content_id or "")
        return self.table["uri"].filter(mask).slice(0, limit).to_pylist()

    def find(self, item: str) -> list[str]:
        """Return the addresses that `item` means, more than one only where they have the same bytes or content.

        It is an address, a path, a document's or content's id or the first 8 or more characters of one, or the name
        of a file. Raises ConfigError for what means nothing, with the nearest names, or different things.
        """
        uri = self.table["uri"]
        for address in (item, os.path.abspath(item)):  # noqa: PTH100 - as the manifest has it
            if pc.any(pc.equal(uri, address)).as_py():
                return [address]
        if len(item) >= SHORTEST_PREFIX:
            name = item.partition("#")[0]  # of a clip's id, the item's
            for column in ("document_id", "content_id"):
                ids = self.table[column]
                rows = self.table.filter(pc.fill_null(pc.starts_with(ids, name), False))
                if names := pc.unique(rows[column]).to_pylist():
                    if len(names) > 1:
                        raise ConfigError(f"{item!r} is the beginning of {_some(names)}: give more of the id")
                    return rows["uri"].to_pylist()
        named = uri.filter(pc.or_(pc.ends_with(uri, f"/{item}"), pc.equal(uri, item))).to_pylist()
        if len(named) > 1:
            raise ConfigError(f"{item!r} is the name of {_some(named)}: give the whole address")
        if named:
            return named
        raise ConfigError(f"no item {item!r} in this workspace; {self._near(item)}")

    def _near(self, item: str) -> str:
        uri = self.table["uri"]
        name = item.rstrip("/").rsplit("/", 1)[-1]
        names = pc.replace_substring_regex(uri, ".*/", "")
        near: list[str] = []
        if name:
            near = uri.filter(pc.match_substring(names, name, ignore_case=True)).slice(0, _NAMED).to_pylist()
        if not near:
            known = names.slice(0, _COMPARED).to_pylist()
            close = dict.fromkeys(difflib.get_close_matches(name, known, n=_NAMED))  # the nearest first
            near = [uri.filter(pc.equal(names, other))[0].as_py() for other in close]
        if near:
            return f"near are {', '.join(near)}"
        return f"there are {_some(uri.slice(0, _NAMED + 1).to_pylist(), of=len(uri))}"


def _some(names: list[str], of: int | None = None) -> str:
    count = len(names) if of is None else of
    more = " …" if count > _NAMED else ""
    return f"{count} ({', '.join(names[:_NAMED])}{more})"
