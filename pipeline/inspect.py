"""Inspect: what a packed dataset holds, and where a sequence's tokens came from."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table
from tyro.conf import Positional

from schemas.dataset import LEDGER, DatasetCard, read_card
from schemas.errors import ConfigError, DatasetError
from schemas.vocab import VISION

_FILE_WIDTH = 160


@dataclass(frozen=True, kw_only=True)
class Inspect:
    """Show a dataset's card; with --sequence also its spans, each back to document, source, licence and time."""

    dataset: Positional[Path]
    """The dataset's directory."""
    sequence: str | None = None
    """KEY of a sequence, such as train-000000000."""
    token: int | None = None
    """Index of one token in that sequence: show only the span it belongs to."""

    def __call__(self, options: tuple[str, ...]) -> None:
        """Print the tables."""
        card = read_card(self.dataset)
        width = None if sys.stdout.isatty() else _FILE_WIDTH  # of a terminal what it has
        console = Console(highlight=False, markup=False, emoji=False, width=width)  # names of files are no markup
        if self.sequence is None:
            if self.token is not None:
                raise ConfigError("--token needs --sequence: which sequence's token?")
            console.print(_card_table(card))
            return
        rows = spans_of(self.dataset, self.sequence)
        if self.token is not None:
            rows = [row for row in rows if row["start"] <= self.token < row["start"] + row["length"]]
            if not rows:
                raise ConfigError(f"token {self.token} of {self.sequence} is padding, or lies outside the sequence")
        console.print(_span_table(rows))


def spans_of(dataset: Path, sequence: str) -> list[dict[str, Any]]:
    """Return the ledger's rows of one sequence, in order; raises ConfigError where there is none such."""
    try:
        rows = pq.read_table(dataset / LEDGER, filters=[("sequence", "=", sequence)]).to_pylist()
    except (OSError, pa.ArrowException) as e:
        raise DatasetError(f"{dataset / LEDGER} cannot be read ({e}); `longreel verify` says what else is wrong") from e
    if not rows:
        raise ConfigError(f"{dataset} has no sequence {sequence!r}; keys look like train-000000000")
    return sorted(rows, key=lambda row: row["span"])


def _card_table(card: DatasetCard) -> Table:
    table = Table(title=f"context {card.context_length:,}, {card.vocabulary.size:,} ids, {card.loss_weighting} weights")
    table.add_column("")
    for split in card.splits:
        table.add_column(split, justify="right")
    for name in ("sequences", "shards", "documents", "tokens", "text_tokens", "vision_tokens"):
        table.add_row(name.replace("_", " "), *(f"{getattr(facts, name):,}" for facts in card.splits.values()))
    for name in ("fill", "best_fill"):
        table.add_row(name.replace("_", " "), *(f"{getattr(facts, name):.4%}" for facts in card.splits.values()))
    return table


def _span_table(rows: list[dict[str, Any]]) -> Table:
    table = Table(title=rows[0]["sequence"] + " in " + rows[0]["shard"])
    for name in ("tokens", "what", "weight", "document", "from its token", "seconds", "source", "licence"):
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(
            f"{row['start']}..{row['start'] + row['length'] - 1}",
            "vision" if row["modality"] == VISION else "text",
            f"{row['weight']:.4g}",
            f"{row['document_id'][:12]} {row['title'] or Path(row['uri']).name}",
            str(row["document_start"]),
            _time(row),
            row["source"] or "",
            row["licence"] or "",
        )
    return table


def _time(row: Mapping[str, Any]) -> str:
    return "" if row["start_s"] is None else f"{row['start_s']:.2f}..{row['end_s']:.2f}"
