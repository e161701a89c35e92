"""Shows where the tokens of a sequence come from, and the frame or the sentence of one token.

The ledger's rows are compared with the sequence before they are shown. Columns that the sequence does not contain (uri,
license, …) are protected only by the ledger's hash, which `longreel verify` compares. A frame is decoded from the
sequence's own codes; `text_place` finds the sentence of a text token.

Cost: a lookup in the ledger (see `rows`) and one sequence; for a token, a scan of the ledger's document ids as well;
for text, all text of the document around the token.
"""

from __future__ import annotations

from pathlib import Path

from rich.table import Table

from pipeline.dataset.reader import Sequences
from pipeline.dataset.trace.frame_place import FramePlace, frame_place, write_frame
from pipeline.dataset.trace.rows import copy_rows, read_checked, row_of_token, sequence_rows
from pipeline.dataset.trace.text_place import TextPlace, place_in_text
from schemas.dataset import DatasetCard, read_card
from schemas.errors import ConfigError, VocabularyMismatch
from schemas.printable import printable
from schemas.records import item_of
from schemas.rows import LedgerRow
from schemas.shards.sequence import PackedSequence
from schemas.storage.location import Location, located
from schemas.text_tokenizer import local_copy
from schemas.vocab import TEXT, VISION
from tokenizer.text.tokenizer import TextTokenizer


def trace_sequence(place: Location | Path, key: str, *, shard: str | None = None) -> Table:
    """Return the spans of the sequence `key` as a table.

    Raises ConfigError if the dataset has no such sequence, DatasetError if the sequence and the ledger differ.
    """
    dataset = located(place)
    rows, card = sequence_rows(dataset, key, shard), read_card(dataset)
    read_checked(Sequences(dataset, card), rows, card)
    return _span_table(rows)


def trace_token(
    place: Location | Path,
    key: str,
    token: int,
    *,
    shard: str | None = None,
    out: Path | None = None,
    vision: str = "small-128",
    text_tokenizer: Location | Path | None = None,
) -> dict[str, str]:
    """Return properties of one token of the sequence `key`, by name; with `out`, also write its frame as a PNG.

    `vision` is the VQGAN that decodes the frame; `text_tokenizer` defaults to the dataset's
    copy. Raises ConfigError if there is no such token or `out` is given for a text token, DatasetError if the
    sequence and the ledger differ, VocabularyMismatch if the dataset was made with another tokenizer.
    """
    dataset = located(place)
    card = read_card(dataset)
    rows = sequence_rows(dataset, key, shard)
    sequences = Sequences(dataset, card)
    sequence = read_checked(sequences, rows, card)
    row = row_of_token(rows, token, card)
    if out is not None and row.modality == TEXT:
        raise ConfigError(f"token {token} of {key} is text: --out is for frames")
    document = copy_rows(dataset, row)
    facts = _facts(row, token, sequence) | _clip_facts(document)
    if row.modality == VISION:
        return facts | _frame(frame_place(row, document, token, card), sequence, card, out=out, vision=vision)
    return facts | _text(dataset, row, document, sequences, card, token - row.start, text_tokenizer)


def _frame(
    place: FramePlace, sequence: PackedSequence, card: DatasetCard, *, out: Path | None, vision: str
) -> dict[str, str]:
    facts = {"frame": f"number {place.number} of 0..{place.frames - 1}", "time": f"{place.time_s:.2f} s"}
    if out is None:
        return facts | {"picture": "--out picture.png writes the frame"}
    codes = sequence.tokens[place.start : place.start + card.frame_grid[0] * card.frame_grid[1]]
    write_frame(out, codes, card, vision=vision)
    return facts | {"picture": str(out)}


def _text(
    dataset: Location,
    row: LedgerRow,
    document: list[LedgerRow],
    sequences: Sequences,
    card: DatasetCard,
    offset: int,
    text_tokenizer: Location | Path | None,
) -> dict[str, str]:
    vocabulary = card.vocabulary
    path = located(text_tokenizer) if text_tokenizer else card.text_tokenizer_folder(dataset)
    if path is None:
        return {"sentence": "--text-tokenizer FILE shows it; the dataset has no copy of its text tokenizer"}
    with local_copy(path) as copy:
        text = TextTokenizer.load(copy)
    if text.sha256 != vocabulary.text_sha256:
        raise VocabularyMismatch(
            f"{path} has the SHA-256 {text.sha256}, but the text of {dataset} was encoded with "
            f"{vocabulary.text_sha256}: give that tokenizer with --text-tokenizer"
        )
    return _text_facts(place_in_text(row, offset, document, sequences, vocabulary, text), text)


def _facts(row: LedgerRow, token: int, sequence: PackedSequence) -> dict[str, str]:
    modality = "frames" if row.modality == VISION else "text"
    facts = {
        "token": f"{token} of {row.sequence} in {row.shard}: id {sequence.tokens[token]}, {modality}, "
        f"weight {row.weight:.4g}",
        "document": f"{row.document_id}, copy {row.copy}, {row.kind}, {row.split}",
        "title": row.title,
        "source": row.source,
        "license": row.license,
        "uri": row.uri,
        "in document": f"token {row.document_start + token - row.start}",
    }
    if row.modality == TEXT and row.start_s is not None:
        facts["time"] = f"{_time(row)} s"
    return {name: printable(value or "unknown") for name, value in facts.items()}


def _clip_facts(document: list[LedgerRow]) -> dict[str, str]:
    """Return the time range of a clip in its video; nothing if the document is the whole item."""
    name = document[0].document_id
    frames = [row for row in document if row.modality == VISION]
    if item_of(name) == name or not frames:
        return {}
    return {"clip": f"{frames[0].start_s:.2f}..{frames[-1].end_s:.2f} s of {item_of(name)}"}


def _text_facts(place: TextPlace, text: TextTokenizer) -> dict[str, str]:
    facts = {"sentence": place.sentence}
    if place.character is not None:
        facts["character"] = f"{place.character:,}" + (" of the text as normalized by the model" if text.losses else "")
        facts["line"] = f"{place.line:,}"
    if place.pages > 1:
        facts["page"] = f"{place.page:,} of {place.pages:,}"
    return facts


def _span_table(rows: list[LedgerRow]) -> Table:
    table = Table(title=f"{rows[0].sequence} in {rows[0].shard}")
    columns = ("tokens", "modality", "weight", "document", "copy", "document token", "seconds", "source", "license")
    for name in columns:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(
            f"{row.start}..{row.end - 1}",
            "vision" if row.modality == VISION else "text",
            f"{row.weight:.4g}",
            printable(f"{_short(row.document_id)} {row.title or Path(row.uri).name}"),
            str(row.copy),
            str(row.document_start),
            _time(row),
            printable(row.source or ""),
            printable(row.license or ""),
        )
    return table


def _short(document_id: str) -> str:
    item = item_of(document_id)
    return item[:12] + document_id[len(item) :]


def _time(row: LedgerRow) -> str:
    return "" if row.start_s is None else f"{row.start_s:.2f}..{row.end_s:.2f}"
