"""The ledger of a dataset."""

from __future__ import annotations

import pyarrow.parquet as pq
import pytest

from pipeline.runtime.workspace import Workspace
from tests.support.stages import Reports, rows_of

pytestmark = pytest.mark.slow


def test_times_in_the_ledger_are_times_of_the_video(clips: tuple[Workspace, Reports]) -> None:
    workspace, _ = clips
    ledger = pq.read_table(workspace.packed("512") / "documents.parquet").to_pylist()
    for row in rows_of(workspace, "three.mp4"):
        spans = [span for span in ledger if span["document_id"] == row["document_id"] and span["modality"] == 1]
        spans.sort(key=lambda span: span["document_start"])
        assert spans[0]["start_s"] == row["clip"]["start"]
        assert spans[-1]["end_s"] == row["clip"]["end"]
