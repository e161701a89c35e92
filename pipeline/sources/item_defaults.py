"""License and source of all items whose manifest row has none, such as the files of a folder."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

from schemas.errors import ConfigError
from schemas.rows import ManifestItem


@dataclass(frozen=True, kw_only=True)
class ItemDefaults:
    """Values of the columns that an item does not have in a manifest."""

    license: str | None = None
    """License of every item for which no manifest gives one, for example CC-BY-4.0."""
    source: str | None = None
    """Source of every item for which no manifest gives one, for example the name of a website."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if value is not None and not value.strip():
                raise ConfigError(f"{field.name} must not be empty, got {value!r}")

    def applied_to(self, item: ManifestItem) -> ManifestItem:
        """Return the item with the values that it does not have itself."""
        return replace(item, license=item.license or self.license, source=item.source or self.source)
