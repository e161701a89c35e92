"""What items get that no manifest gives them, such as the files of a folder."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.sources.sidecars import language_of
from schemas.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class ItemDefaults:
    """Values of the columns that an item does not have in a manifest."""

    license: str | None = None
    """License of every item for which no manifest gives one, for example CC-BY-4.0."""
    source: str | None = None
    """Source of every item for which no manifest gives one, for example the name of a website."""

    languages_of_transcripts: tuple[str, ...] = ()
    """Languages of transcripts to prefer if a folder has several for a video, in this order, for example en pt-BR. The
    language is in the name of the file: `film.en.srt`."""

    def __post_init__(self) -> None:
        for name, value in (("license", self.license), ("source", self.source)):
            if value is not None and not value.strip():
                raise ConfigError(f"{name} must not be empty, got {value!r}")
        tags = tuple(language_of(tag) or "" for tag in self.languages_of_transcripts)
        if "" in tags:
            unknown = self.languages_of_transcripts[tags.index("")]
            raise ConfigError(f"languages_of_transcripts must be language tags such as en or pt-BR, got {unknown!r}")
        object.__setattr__(self, "languages_of_transcripts", tags)

    def applied_to(self, items: pa.Table) -> pa.Table:
        """Return a table of items with the values that they do not have themselves."""
        for name, value in (("license", self.license), ("source", self.source)):
            if value is not None:
                at, column = items.schema.get_field_index(name), items[name]
                has_own = pc.fill_null(pc.not_equal(column, ""), False)
                items = items.set_column(at, items.schema.field(at), pc.if_else(has_own, column, value))
        return items
