"""Options of the command that removes items from everything that a workspace keeps: takedown."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from tyro.conf import Positional, arg

from pipeline.cli.place import FLAT
from pipeline.reports.data_card import write_data_cards
from pipeline.runtime.workspace import Workspace
from pipeline.takedown.takedown import TakedownConfig, take_down
from schemas.storage.option import AddressOfFolder


@dataclass(frozen=True, kw_only=True)
class Takedown:
    """Remove items, their copies and near-duplicates from a workspace and all its datasets, and block them for ever.

    Their tokens are deleted, the sequences that had them are packed again without them, and a receipt is written. Later
    commands reject them with the reason taken_down. A takedown that was interrupted is completed by the next one.
    """

    items: Annotated[Positional[tuple[str, ...]], arg(metavar="ITEM ...")]
    """Addresses as listed, paths, file names, or document ids (the first 8 characters are enough)."""
    out: AddressOfFolder
    """The workspace."""
    dry_run: bool = False
    """Print what would be removed, and change nothing."""
    takedown: Annotated[TakedownConfig, FLAT] = field(default_factory=TakedownConfig)

    def __call__(self, options: tuple[str, ...]) -> None:
        """Remove the items, and print what was removed and what could not be."""
        workspace = Workspace.existing(self.out)
        take_down(workspace, self.items, self.takedown, dry_run=self.dry_run)
        if not self.dry_run:
            write_data_cards(workspace, self.takedown.also)
