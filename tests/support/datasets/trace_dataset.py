"""A packed dataset of a book and a video in a workspace, for tests that trace tokens to their source."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

import tokenizer.codec
from pipeline.dataset.reader import Sequences
from pipeline.dataset.trace.rows import copy_rows, read_checked, sequence_rows
from pipeline.dataset.trace.text_place import TextPlace, place_in_text
from pipeline.text.transcripts.cues import Cue
from pipeline.tokenize.interleave import Document, InterleaveConfig, book_document, video_document
from schemas.dataset import DatasetCard, read_card
from schemas.dataset_files import CARD
from schemas.fingerprint import sha256_file
from schemas.rows import LedgerRow, ledger_rows
from schemas.shards.sequence import PackedSequence
from schemas.storage.location import located
from schemas.text_tokenizer import store_files
from schemas.vocab import VISION, Vocabulary
from tests.support.datasets.packed_datasets import make_dataset
from tests.support.stored_files import file_of
from tests.support.token_stores import StoredDocument
from tokenizer.text.tokenizer import TextTokenizer
from tokenizer.text.training import TextTrainConfig, train_text_tokenizer

CONTEXT, GRID, RATE = 256, (8, 8), 2.0
WEIGHTS = Path(tokenizer.codec.__file__).parent / "weights" / "small-128.safetensors"
PAGES = [
    "".join(f"This is sentence {n} on page {p}. Its étude is “ß{n}”!\nIt continues; 🎞 rolls.\n\n" for n in range(6))
    for p in range(4)
]
BOOK = "\f".join(PAGES)
CUES = [Cue(3.0, 4.0, "Look at that dog. It runs!"), Cue(6.0, 7.5, "Where to?")]
FRAMES = 20
KEY = "val-000000000"  # the only sequence of the validation split


@dataclasses.dataclass(frozen=True)
class TraceDataset:
    """A dataset in the folder of a workspace, and its content: the text tokenizer, the card, and the video's codes."""

    dataset: Path
    text: TextTokenizer
    card: DatasetCard
    codes: NDArray[Any]

    @property
    def model(self) -> Path:
        folder = self.card.text_tokenizer_folder(located(self.dataset))
        assert folder is not None
        return folder.local()


def make_trace_dataset(out: Path) -> TraceDataset:
    """Write the dataset of a workspace `out` and its text tokenizer."""
    text = TextTokenizer.load(train_text_tokenizer([BOOK], out / "text.model", TextTrainConfig(vocab_size=512)))
    vocabulary = Vocabulary(
        text_size=text.size,
        codebook_size=1024,
        bos_id=text.bos_id,
        eos_id=text.eos_id,
        begin_vision=text.begin_vision,
        end_vision=text.end_vision,
        text_sha256=text.sha256,
        vision_sha256=sha256_file(WEIGHTS),
    )
    codes = np.random.default_rng(0).integers(0, 1024, (FRAMES, 64))
    film = video_document(
        codes,
        frame_rate=RATE,
        captions=["A dog in a field."],
        cues=CUES,
        vocabulary=vocabulary,
        text=text,
        config=InterleaveConfig(caption_first=1),
        seed_identity="film",
    )
    book = book_document(text.encode(BOOK), vocabulary=vocabulary)
    documents = [
        _stored("book", "book", book, title="A \x1b[31mred\x1b[0m book", source="a shelf"),
        _stored("film", "video", film, license="CC-BY-4.0"),
        _stored("short", "book", book_document(text.encode("Short. "), vocabulary=vocabulary)),
        _stored("held out", "book", book_document(text.encode("Held out."), vocabulary=vocabulary), split="val"),
    ]
    dataset = make_dataset(out, documents, context=CONTEXT, vocabulary=vocabulary, grid=GRID, shard_bytes=10_000)
    text.files.write(out / "text")
    stored = store_files(out / "text", located(dataset), text.files.hashes())
    card = dataclasses.replace(read_card(dataset), text_tokenizer=stored)
    (dataset / CARD).write_text(card.to_json())
    assert len(list(dataset.glob("train-*.tar"))) >= 3
    return TraceDataset(dataset, text, card, codes)


def _stored(name: str, kind: str, document: Document, *, split: str = "train", **facts: Any) -> StoredDocument:
    runs = [
        (span.modality, document.tokens[span.start : span.start + span.length], span.start_s, span.end_s)
        for span in document.spans
    ]
    return StoredDocument(name, kind, runs, frame_tokens=document.frame_tokens, split=split, facts=facts)


def traced(dataset: TraceDataset, uri: str) -> Iterator[tuple[LedgerRow, PackedSequence]]:
    """Yield the ledger's rows of a document and their sequences, in the document's order."""
    sequences = Sequences(located(dataset.dataset), dataset.card)
    table = pq.read_table(file_of(dataset.dataset, "documents.parquet"))
    rows = ledger_rows(table.filter(pc.equal(table["uri"], uri)))
    for row in sorted(rows, key=lambda r: r.document_start):
        yield row, read_checked(sequences, sequence_rows(located(dataset.dataset), row.sequence), dataset.card)


def place(dataset: TraceDataset, row: LedgerRow, offset: int) -> TextPlace:
    """Return the position of token `offset` of a text span."""
    sequences = Sequences(located(dataset.dataset), dataset.card)
    document = copy_rows(located(dataset.dataset), row)
    return place_in_text(row, offset, document, sequences, dataset.card.vocabulary, dataset.text)


def a_frame(dataset: TraceDataset) -> tuple[str, int, int]:
    """Return the key, a token and the number of a frame in the middle of the video."""
    for row, _ in traced(dataset, "files/film"):
        if row.modality == VISION and row.start_s is not None and row.start_s >= 3:
            return row.sequence, row.start + 70, round(row.start_s * RATE) + 1
    raise AssertionError
