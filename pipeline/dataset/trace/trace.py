"""Trace: where a sequence's tokens came from, and what one of them shows.

The ledger's rows of the sequence are compared with the sequence itself before they are told. What they say beside
numbers and ids (uri, license …) is guarded by the ledger's hash alone, which `longreel verify` compares. A frame is
decoded from the sequence's own codes; the sentence around a token of text is in `trace_text`.

Cost: the ledger's row groups whose range of keys holds the key; for a token one scan of the column of document ids; one
sequence is read, and for text the whole of its document's text.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image
from rich.table import Table

from pipeline.dataset.reader import Sequences
from pipeline.dataset.trace.text_place import TextPlace, place_in_text
from pipeline.dataset.verify.ledger_rows import LedgerRows
from pipeline.dataset.verify.sequence import sequence_problems
from pipeline.runtime.progress import readable
from schemas.dataset import LEDGER, DatasetCard, read_card
from schemas.errors import ConfigError, DatasetError, VocabularyMismatch
from schemas.files import atomic
from schemas.records import LEDGER as LEDGER_SCHEMA
from schemas.records import item_of
from schemas.shards.sequence import PackedSequence
from schemas.vocab import TEXT, VISION
from tokenizer.text.sentencepiece import TextTokenizer

Row = Mapping[str, Any]  # of the ledger


def trace_sequence(dataset: Path, key: str, *, shard: str | None = None) -> Table:
    """Return the spans of the sequence `key` as a table.

    Raises ConfigError when the dataset has no such sequence, DatasetError when the sequence and the ledger disagree.
    """
    rows, card = rows_of(dataset, key, shard), read_card(dataset)
    read_traced(Sequences(dataset, card), rows, card)
    return _span_table(rows)


def trace_token(
    dataset: Path,
    key: str,
    token: int,
    *,
    shard: str | None = None,
    out: Path | None = None,
    vision: str = "small-128",
    text_model: Path | None = None,
) -> dict[str, str]:
    """Return the facts about one token of the sequence `key`, by name; with `out`, write its frame there as a PNG.

    `vision` decodes the frame; `text_model` defaults to the text tokenizer of the dataset's workspace. Raises
    ConfigError when there is no such token or `out` is given for text, DatasetError when the sequence and the ledger
    disagree, VocabularyMismatch when a tokenizer is not the one that the dataset was made with.
    """
    card = read_card(dataset)
    rows = rows_of(dataset, key, shard)
    sequences = Sequences(dataset, card)
    sequence = read_traced(sequences, rows, card)
    row = row_at(rows, token, card)
    if out is not None and row["modality"] == TEXT:
        raise ConfigError(f"token {token} of {key} is text: --out is for frames")
    document = document_rows(dataset, row)
    facts = _facts(row, token, sequence) | _clip_facts(document)
    if row["modality"] == VISION:
        return facts | _frame(frame_place(row, document, token, card), sequence, card, out=out, vision=vision)
    return facts | _text(dataset, row, document, sequences, card, token - row["start"], text_model)


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
    dataset: Path,
    row: Row,
    document: list[Row],
    sequences: Sequences,
    card: DatasetCard,
    token: int,
    text_model: Path | None,
) -> dict[str, str]:
    path, vocabulary = text_model or _workspace_model(dataset), card.vocabulary
    if path is None:
        return {"sentence": "--text-model FILE shows it; the dataset is not in a workspace that has the model"}
    text = TextTokenizer.load(path)
    if text.sha256 != vocabulary.text_sha256:
        raise VocabularyMismatch(
            f"{path} has the SHA-256 {text.sha256}, but the text of {dataset} was encoded with "
            f"{vocabulary.text_sha256}: give that model with --text-model"
        )
    return _text_facts(place_in_text(row, token, document, sequences, vocabulary, text), text)


def rows_of(dataset: Path, key: str, shard: str | None = None) -> list[Row]:
    """Return the ledger's rows of one sequence, in order; raises ConfigError where there is none such."""
    rows = _read_ledger(dataset, "sequence", key)
    if not rows:
        raise ConfigError(f"{dataset} has no sequence {key!r}; keys look like train-000000000")
    shards = {row["shard"] for row in rows}
    if len(shards) > 1:
        raise DatasetError(f"{dataset / LEDGER} has {key} in {len(shards)} shards; run `longreel verify`")
    if shard is not None and shards != {shard.removesuffix(".tar") + ".tar"}:
        raise ConfigError(f"{key} lies in {rows[0]['shard']}, not in {shard}")
    return sorted(rows, key=lambda row: row["span"])


def read_traced(sequences: Sequences, rows: list[Row], card: DatasetCard) -> PackedSequence:
    """Return the sequence of `rows`; raises DatasetError where it, or what the rows say of it, is not right."""
    sequence = sequences.read(rows[0]["shard"], rows[0]["sequence"])
    ledger = LedgerRows(pa.Table.from_pylist([dict(row) for row in rows], LEDGER_SCHEMA))
    for problems in (sequence_problems(sequence, card), ledger.problems(sequence, sequence.key.partition("-")[0])):
        for what in problems:
            raise DatasetError(f"{sequence.key} in {rows[0]['shard']}: {what}; run `longreel verify`")
    return sequence


def row_at(rows: list[Row], token: int, card: DatasetCard) -> Row:
    """Return the row of the span that holds `token` of a sequence; raises ConfigError where none does."""
    for row in rows:
        if row["start"] <= token < row["start"] + row["length"]:
            return row
    key, used, context = rows[0]["sequence"], rows[-1]["start"] + rows[-1]["length"], card.context_length
    if 0 <= token < context:
        raise ConfigError(f"token {token} of {key} is padding: its documents end at token {used - 1}")
    raise ConfigError(f"token {token} lies outside {key}, which has the tokens 0..{context - 1}")


def document_rows(dataset: Path, row: Row) -> list[Row]:
    """Return the rows of the copy of a document that `row` is of, in the document's order, from all its sequences.

    Raises DatasetError where they leave a gap or overlap.
    """
    copies = _read_ledger(dataset, "document_id", row["document_id"])
    rows = sorted((r for r in copies if r["copy"] == row["copy"]), key=lambda r: r["document_start"])
    ends = np.cumsum([r["length"] for r in rows])
    starts = np.array([r["document_start"] for r in rows])
    if (wrong := starts != ends - [r["length"] for r in rows]).any():
        at = int(starts[np.argmax(wrong)])
        raise DatasetError(
            f"{dataset / LEDGER}: the chunks of document {row['document_id']} do not join at its token {at}; "
            "run `longreel verify`"
        )
    return rows


class FramePlace(NamedTuple):
    """A frame: its number in the document and of how many, its time, and where in the sequence its codes begin."""

    number: int
    frames: int
    time_s: float
    start: int


def frame_place(row: Row, document: list[Row], token: int, card: DatasetCard) -> FramePlace:
    """Return which frame the `token` of a sequence belongs to; `row` is its span, `document` all of the document's.

    Raises DatasetError where a run of frames is not whole ones, or has no time.
    """
    per_frame = card.frame_grid[0] * card.frame_grid[1] + 1
    vision = [r for r in document if r["modality"] == VISION]
    if any(r["length"] % per_frame for r in vision) or row["start_s"] is None or row["end_s"] is None:
        raise DatasetError(f"document {row['document_id']} has frames that are not whole, or no time for them")
    within = (token - row["start"]) // per_frame
    before = sum(r["length"] for r in vision if r["document_start"] < row["document_start"]) // per_frame
    each_s = (row["end_s"] - row["start_s"]) / (row["length"] // per_frame)
    return FramePlace(
        number=before + within,
        frames=sum(r["length"] for r in vision) // per_frame,
        time_s=row["start_s"] + within * each_s,
        start=row["start"] + within * per_frame,
    )


def write_frame(path: Path, codes: NDArray[Any], card: DatasetCard, *, vision: str) -> None:
    """Decode a frame's tokens [P] and write it as a PNG; raises VocabularyMismatch where `vision` is another VQGAN."""
    from tokenizer.codec import FrameCodec  # JAX is loaded only where a picture is asked for

    codec, vocabulary = FrameCodec.load(vision), card.vocabulary
    if codec.sha256 != vocabulary.vision_sha256:
        raise VocabularyMismatch(
            f"the VQGAN {vision!r} has the SHA-256 {codec.sha256}, but the frames were encoded with "
            f"{vocabulary.vision_sha256}: say with which (--vision NAME or FILE)"
        )
    if not (vocabulary.is_vision(codes) & (codes < vocabulary.eof)).all():
        raise DatasetError("the token's frame holds an id that is no code; run `longreel verify`")
    frame = codec.decode((codes - vocabulary.dtype.type(vocabulary.text_size))[None], grid=card.frame_grid)[0]
    with atomic(path) as temporary:
        Image.fromarray(frame).save(temporary, format="PNG")


def _read_ledger(dataset: Path, column: str, value: str) -> list[Row]:
    """Return the rows that have `value` in `column`; of row groups without such a row that column alone is read."""
    path = dataset / LEDGER
    tables = []
    try:
        with pq.ParquetFile(path) as file:
            if not file.schema_arrow.equals(LEDGER_SCHEMA):
                raise DatasetError(f"{path} has not the columns of a ledger; run `longreel verify`")
            at = LEDGER_SCHEMA.get_field_index(column)
            for group in range(file.num_row_groups):
                range_of = file.metadata.row_group(group).column(at).statistics
                if range_of is not None and range_of.has_min_max and not range_of.min <= value <= range_of.max:
                    continue
                mask = pc.equal(file.read_row_group(group, columns=[column])[column], value)
                if pc.any(mask).as_py():
                    tables.append(file.read_row_group(group).filter(mask))
    except (OSError, pa.ArrowException) as e:
        raise DatasetError(f"{path} cannot be read ({e}); `longreel verify` says what else is wrong") from e
    return [row for table in tables for row in table.to_pylist()]


def _workspace_model(dataset: Path) -> Path | None:
    folder = dataset.resolve().parent
    path = folder.parent / "tokenizers" / "text.model"
    return path if folder.name == "packed" and path.is_file() else None


def _facts(row: Row, token: int, sequence: PackedSequence) -> dict[str, str]:
    modality = "frames" if row["modality"] == VISION else "text"
    facts = {
        "token": f"{token} of {row['sequence']} in {row['shard']}: id {sequence.tokens[token]}, {modality}, "
        f"weight {row['weight']:.4g}",
        "document": f"{row['document_id']}, copy {row['copy']}, {row['kind']}, {row['split']}",
        "title": row["title"],
        "source": row["source"],
        "license": row["license"],
        "uri": row["uri"],
        "in document": f"token {row['document_start'] + token - row['start']}",
    }
    if row["modality"] == TEXT and row["start_s"] is not None:
        facts["time"] = f"{_time(row)} s"
    return {name: readable(value or "not stated") for name, value in facts.items()}


def _clip_facts(document: list[Row]) -> dict[str, str]:
    """Return which part of its video a document is, on the video's clock; nothing where it is the whole item."""
    name = document[0]["document_id"]
    frames = [row for row in document if row["modality"] == VISION]
    if item_of(name) == name or not frames:
        return {}
    return {"clip": f"{frames[0]['start_s']:.2f}..{frames[-1]['end_s']:.2f} s of {item_of(name)}"}


def _text_facts(place: TextPlace, text: TextTokenizer) -> dict[str, str]:
    facts = {"sentence": place.sentence}
    if place.character is not None:
        facts["character"] = f"{place.character:,}" + (" of the text as the model rewrote it" if text.losses else "")
        facts["line"] = f"{place.line:,}"
    if place.pages > 1:
        facts["page"] = f"{place.page:,} of {place.pages:,}"
    return facts


def _span_table(rows: list[Row]) -> Table:
    table = Table(title=rows[0]["sequence"] + " in " + rows[0]["shard"])
    for name in ("tokens", "what", "weight", "document", "copy", "from its token", "seconds", "source", "license"):
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(
            f"{row['start']}..{row['start'] + row['length'] - 1}",
            "vision" if row["modality"] == VISION else "text",
            f"{row['weight']:.4g}",
            readable(f"{_short(row['document_id'])} {row['title'] or Path(row['uri']).name}"),
            str(row["copy"]),
            str(row["document_start"]),
            _time(row),
            readable(row["source"] or ""),
            readable(row["license"] or ""),
        )
    return table


def _short(document_id: str) -> str:
    item = item_of(document_id)
    return item[:12] + document_id[len(item) :]


def _time(row: Row) -> str:
    return "" if row["start_s"] is None else f"{row['start_s']:.2f}..{row['end_s']:.2f}"
