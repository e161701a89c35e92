from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from pipeline.dataset.trace.frame_place import frame_place, write_frame
from pipeline.dataset.trace.rows import copy_rows
from schemas.errors import DatasetError
from schemas.storage.location import located
from schemas.vocab import VISION
from tests.support.datasets.trace_dataset import FRAMES, RATE, TraceDataset, traced


def test_number_and_time_of_every_frame_of_a_video_in_several_chunks(trace_dataset: TraceDataset) -> None:
    numbers, chunks = [], set()
    for row, sample in traced(trace_dataset, "files/film"):
        if row.modality != VISION:
            continue
        chunks.add(row.sequence)
        document = copy_rows(located(trace_dataset.dataset), row)
        for token in range(row.start, row.start + row.length, 13):
            found = frame_place(row, document, token, trace_dataset.card)
            codes = sample.tokens[found.start : found.start + 64] - trace_dataset.text.size
            assert found.start <= token < found.start + 65
            assert np.array_equal(codes, trace_dataset.codes[found.number])
            assert found.time_s == pytest.approx(found.number / RATE)
            assert found.frames == FRAMES
            numbers.append(found.number)
    assert len(chunks) > 2
    assert numbers == sorted(numbers)
    assert set(numbers) == set(range(FRAMES))


@pytest.mark.parametrize("changes", [{"length": 66}, {"start_s": None}, {"end_s": None}])
def test_incomplete_frames_and_frames_without_a_time_are_rejected(
    trace_dataset: TraceDataset, changes: dict[str, int | None]
) -> None:
    row = next(r for r, _ in traced(trace_dataset, "files/film") if r.modality == VISION)
    broken = dataclasses.replace(row, **changes)  # type: ignore[arg-type]
    with pytest.raises(DatasetError, match="incomplete frames or frames without a time"):
        frame_place(broken, [broken], broken.start, trace_dataset.card)


@pytest.mark.slow
def test_a_frame_with_a_token_that_is_not_a_code_is_not_written(trace_dataset: TraceDataset, tmp_path: Path) -> None:
    codes = np.full(64, trace_dataset.card.vocabulary.eof, trace_dataset.card.vocabulary.dtype)
    with pytest.raises(DatasetError, match="a token that is not a code"):
        write_frame(tmp_path / "frame.png", codes, trace_dataset.card, vision="small-128")
    assert not (tmp_path / "frame.png").exists()
