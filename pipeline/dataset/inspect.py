"""The table that `longreel inspect` prints: the contents of a packed dataset, read from its card."""

from __future__ import annotations

from rich.table import Table

from schemas.counted import counted
from schemas.dataset import DatasetCard


def card_table(card: DatasetCard) -> Table:
    """Return the card as a table with one column per split."""
    taken_down = f", {counted(len(card.taken_down), 'document')} taken down" if card.taken_down else ""
    facts = f"context {card.context_length:,}, {card.vocabulary.size:,} ids, {card.loss_weighting} weights, "
    table = Table(title=f"{facts}attention within the {card.attention}{taken_down}")
    table.add_column("")
    for split in card.splits:
        table.add_column(split, justify="right")
    for name in ("sequences", "shards", "documents", "tokens", "text_tokens", "vision_tokens"):
        table.add_row(name.replace("_", " "), *(f"{getattr(split, name):,}" for split in card.splits.values()))
    for name in ("fill", "best_fill"):
        table.add_row(name.replace("_", " "), *(f"{getattr(split, name):.4%}" for split in card.splits.values()))
    return table
