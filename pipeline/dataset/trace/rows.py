"""Finds the ledger's rows of a sequence, of a token and of a document.

Cost: the row groups whose range of values includes the wanted one; the others are skipped by their statistics.
"""

from __future__ import annotations

import numpy as np
import pyarrow.compute as pc

from pipeline.dataset.reader import Sequences
from pipeline.dataset.verify.ledger_rows import LedgerRows
from pipeline.dataset.verify.sequence import sequence_problems
from schemas.dataset import DatasetCard, read_card
from schemas.dataset_files import LEDGER, plain_name
from schemas.errors import ConfigError, DatasetError
from schemas.records import LEDGER as LEDGER_SCHEMA
from schemas.rows import LedgerRow, ledger_rows, ledger_table
from schemas.shards.sequence import PackedSequence
from schemas.storage.location import Location
from schemas.tables import open_table


def sequence_rows(dataset: Location, key: str, shard: str | None = None) -> list[LedgerRow]:
    """Return the ledger's rows of one sequence, in order.

    Raises ConfigError if the dataset has no sequence `key`, or has it in another shard than `shard`.
    """
    rows = _read_ledger(dataset, "sequence", key)
    if not rows:
        raise ConfigError(f"{dataset} has no sequence {key!r}; an example of a key is train-000000000")
    shards = {row.shard for row in rows}
    if len(shards) > 1:
        raise DatasetError(f"{dataset}: the ledger lists {key} in {len(shards)} shards; run `longreel verify`")
    if shard is not None and shard.removesuffix(".tar") not in _names(rows[0].shard):
        raise ConfigError(f"{key} is in {rows[0].shard}, not in {shard}")
    return sorted(rows, key=lambda row: row.span)


def _names(shard: str) -> list[str]:
    """Return the names by which a user can give a shard: with and without the hash."""
    return [name.removesuffix(".tar") for name in (shard, plain_name(shard))]


def read_checked(sequences: Sequences, rows: list[LedgerRow], card: DatasetCard) -> PackedSequence:
    """Return the sequence of `rows`; raises DatasetError if it is invalid or differs from its rows."""
    sequence = sequences.read(rows[0].shard, rows[0].sequence)
    ledger = LedgerRows(ledger_table(rows))
    for problems in (sequence_problems(sequence, card), ledger.problems(sequence, sequence.key.partition("-")[0])):
        for what in problems:
            raise DatasetError(f"{sequence.key} in {rows[0].shard}: {what}; run `longreel verify`")
    return sequence


def row_of_token(rows: list[LedgerRow], token: int, card: DatasetCard) -> LedgerRow:
    """Return the row of the span that contains `token` of a sequence; raises ConfigError if there is none."""
    for row in rows:
        if row.start <= token < row.end:
            return row
    key, last = rows[0].sequence, rows[-1].end - 1
    if 0 <= token < card.context_length:
        raise ConfigError(f"token {token} of {key} is padding: its last document ends at token {last}")
    raise ConfigError(f"token {token} is outside of {key}, which has the tokens 0..{card.context_length - 1}")


def copy_rows(dataset: Location, row: LedgerRow) -> list[LedgerRow]:
    """Return all rows of the copy of a document that `row` belongs to, from all sequences, in the document's order.

    Raises DatasetError if they overlap or leave a gap.
    """
    copies = _read_ledger(dataset, "document_id", row.document_id)
    rows = sorted((r for r in copies if r.copy == row.copy), key=lambda r: r.document_start)
    lengths = np.array([r.length for r in rows])
    starts = np.array([r.document_start for r in rows])
    if (wrong := starts != np.cumsum(lengths) - lengths).any():
        at = int(starts[np.argmax(wrong)])
        raise DatasetError(
            f"{dataset}: the ledger's chunks of document {row.document_id} overlap or leave a gap at its token {at}; "
            "run `longreel verify`"
        )
    return rows


def _read_ledger(dataset: Location, column: str, value: str) -> list[LedgerRow]:
    """Return the rows with `value` in `column`; only that column is read of row groups without such a row."""
    path = read_card(dataset).file(dataset, LEDGER)
    tables = []
    try:
        with open_table(path) as file:
            if not file.schema_arrow.equals(LEDGER_SCHEMA):
                raise DatasetError(f"{path} does not have the columns of a ledger")
            at = LEDGER_SCHEMA.get_field_index(column)
            for group in range(file.num_row_groups):
                statistics = file.metadata.row_group(group).column(at).statistics
                if statistics is not None and statistics.has_min_max and not statistics.min <= value <= statistics.max:
                    continue
                mask = pc.equal(file.read_row_group(group, columns=[column])[column], value)
                if pc.any(mask).as_py():
                    tables.append(file.read_row_group(group).filter(mask))
    except DatasetError as e:
        raise DatasetError(f"{e}; run `longreel verify` to list all problems") from e
    return [row for table in tables for row in ledger_rows(table)]
