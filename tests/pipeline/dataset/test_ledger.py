from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.dataset.ledger import ChunkTable, clip, shard_ledger, write_ledger
from pipeline.runtime.workspace import Workspace
from schemas.records import LEDGER
from schemas.rows import document_table, ledger_rows
from schemas.storage.location import located
from schemas.vocab import TEXT, VISION
from tests.support.stages import Reports, rows_of
from tests.support.stored_files import file_of, stored_file
from tests.support.token_stores import book, video

DOCUMENTS = document_table([book("a", 40).entry(), video("b", [4, 2], cue=3).entry()])
# "b": bos <vision> 4 frames of 5 tokens </vision> 3 of text <vision> 2 frames </vision> 2 of text eos


def chunk_table(chunks: list[tuple[int, int, int]], first: list[int]) -> ChunkTable:
    """Return chunks (document, start, length) of sequences that begin at the chunks `first`."""
    document, start, length = np.array(chunks, np.int64).T
    return ChunkTable(
        document=document,
        copy=np.zeros(len(chunks), np.int64),
        start=start,
        length=length,
        weight=np.ones(len(chunks)),
        first=np.array(first, np.int64),
    )


def test_spans_are_clipped_to_the_chunks_and_numbered_by_chunk() -> None:
    chunks = chunk_table([(0, 0, 30), (1, 0, 12), (0, 30, 10)], [0, 2, 3])
    clips = clip(chunks, DOCUMENTS, text_weight=1.0, vision_weight=0.5)
    assert clips.first.tolist() == [0, 3, 4]
    assert clips.spans["start"].tolist() == [0, 30, 32, 0]
    assert clips.spans["length"].tolist() == [30, 2, 10, 10]
    assert clips.spans["document"].tolist() == [0, 1, 1, 0]
    assert clips.spans["modality"].tolist() == [TEXT, TEXT, VISION, TEXT]
    assert clips.spans["weight"].tolist() == [1, 1, 0.5, 1]
    assert clips.document_start.tolist() == [0, 0, 2, 30]


def test_a_part_of_a_run_of_frames_has_its_share_of_the_time() -> None:
    chunks = chunk_table([(1, 7, 10)], [0, 1])  # frames 1 and 2 of 4, at one frame per second
    clips = clip(chunks, DOCUMENTS, text_weight=1.0, vision_weight=1.0)
    assert (clips.start_s.tolist(), clips.end_s.tolist()) == ([1.0], [3.0])


def test_rows_of_a_shard_are_the_spans_with_their_documents() -> None:
    chunks = chunk_table([(0, 0, 30), (1, 0, 12), (0, 30, 10)], [0, 2, 3])
    clips = clip(chunks, DOCUMENTS, text_weight=1.0, vision_weight=1.0)
    rows = ledger_rows(shard_ledger(clips, chunks, DOCUMENTS, keys=["k0", "k1"], shard="s.tar"))
    assert [(row.sequence, row.span, row.document_id) for row in rows] == [
        ("k0", 0, book("a", 40).id),
        ("k0", 1, video("b", [4, 2]).id),
        ("k0", 2, video("b", [4, 2]).id),
        ("k1", 0, book("a", 40).id),
    ]
    assert {row.shard for row in rows} == {"s.tar"}
    assert [row.start_s for row in rows] == [None, None, 0.0, None]
    assert rows[2].uri == "files/b"


def test_an_empty_table_adds_no_row_group(tmp_path: Path) -> None:
    chunks = chunk_table([(0, 0, 40)], [0, 1])
    table = shard_ledger(
        clip(chunks, DOCUMENTS, text_weight=1.0, vision_weight=1.0), chunks, DOCUMENTS, keys=["k"], shard="s.tar"
    )
    stored = write_ledger(located(tmp_path), [LEDGER.empty_table(), table, LEDGER.empty_table(), table])
    path = file_of(tmp_path, "documents.parquet")
    assert stored == stored_file(tmp_path, "documents.parquet")
    assert pq.ParquetFile(path).num_row_groups == 2
    assert pq.read_table(path).equals(pa.concat_tables([table, table]))


@pytest.mark.slow
def test_times_in_the_ledger_are_times_of_the_video(clips: tuple[Workspace, Reports]) -> None:
    workspace, _ = clips
    ledger = pq.read_table(file_of(workspace.packed("512").local(), "documents.parquet")).to_pylist()
    for row in rows_of(workspace, "three.mp4"):
        spans = [span for span in ledger if span["document_id"] == row["document_id"] and span["modality"] == 1]
        spans.sort(key=lambda span: span["document_start"])
        assert spans[0]["start_s"] == row["clip"]["start"]
        assert spans[-1]["end_s"] == row["clip"]["end"]
