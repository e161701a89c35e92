from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.tokenizer_jobs.training_set import (
    TrainingSet,
    read_training_table,
    signature_of,
    training_table,
    write_training_table,
)
from pipeline.video.decoder import DecodeConfig, Decoder
from schemas.errors import DatasetError
from tests.support.inputs.media import make_video


def pattern(name: str) -> Callable[[int], NDArray[np.uint8]]:
    """Random patches of color that move, different for each name."""
    patches = np.random.default_rng(list(name.encode())).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    return lambda i: np.kron(np.roll(patches, i // 4, 1), np.ones((8, 8, 1), np.uint8))


def test_the_table_is_next_to_the_weights() -> None:
    assert training_table(Path("out/tokenizer.safetensors")) == Path("out/tokenizer.trained-on.parquet")


@pytest.mark.slow
def test_the_table_of_a_training_set_is_restored_and_recognizes_its_items(tmp_path: Path) -> None:
    for name in ("first.mp4", "second.mp4", "third.mp4"):
        make_video(tmp_path / name, frames=20, picture=pattern(name))
    with Decoder(DecodeConfig(size=16)) as decoder:
        given = [(name, signature_of(decoder, tmp_path / name)) for name in ("first.mp4", "second.mp4")]
        third = signature_of(decoder, tmp_path / "third.mp4")
    write_training_table(tmp_path / "table.parquet", given)
    found = read_training_table(tmp_path / "table.parquet")
    assert [(uri, s.content_id, s.samples) for uri, s in found] == [(uri, s.content_id, s.samples) for uri, s in given]
    known = TrainingSet(found)
    assert known.shared(given[1][1]) == "in the training set, as second.mp4"
    assert known.shared(third) is None
    assert TrainingSet([]).shared(third) is None
    (tmp_path / "other.parquet").write_bytes(b"PAR1")
    with pytest.raises(DatasetError, match="not a table of a training set"):
        read_training_table(tmp_path / "other.parquet")
