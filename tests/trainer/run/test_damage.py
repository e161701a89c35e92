from __future__ import annotations

import numpy as np
import pytest

from schemas.errors import DamagedSequence
from tests.support.training.training_dataset import write_dataset
from trainer.data.layout import permutation
from trainer.data.loader import Loader, Window
from trainer.data.shards import PackedSplit
from trainer.run.damage import SkippedSequences, to_stderr


def test_a_skipped_sequence_is_named_once(tmp_path_factory: pytest.TempPathFactory) -> None:
    split = PackedSplit([write_dataset(tmp_path_factory.mktemp("packed") / "set", context=64)], "train")
    order = permutation("contiguous", length=64, devices=1, stripe=1)
    loader = Loader(split, order=order, window=Window(rows=np.array([0]), columns=np.arange(64)), skip_damaged=True)
    lines: list[str] = []
    skipped = SkippedSequences(lines.append)
    skipped.update(loader)
    assert skipped.count == 0
    for index in (3, 3, 1):
        loader.damaged[index] = DamagedSequence(f"shard, sequence {index}: altered")
        skipped.update(loader)
    assert skipped.count == 2
    assert lines == [f"skipped a damaged sequence: shard, sequence {index}: altered" for index in (3, 1)]


def test_processes_without_a_display_print_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    to_stderr("a line")
    assert capsys.readouterr().err == "train: a line\n"
