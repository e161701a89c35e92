"""Rows of an earlier survey are reused only together with their signatures."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from pipeline.runtime.workspace import Workspace, write_table_unit
from pipeline.survey.table import read_reusable, read_survey_unit
from schemas.records import SIGNATURES
from schemas.storage.location import located
from tests.support.survey_rows import book, broken, video, write_signatures, write_survey
from tests.support.surveys import run_survey


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["garbage", "one row"])
def test_rows_without_signatures_are_computed_again(folder: Path, tmp_path: Path, damage: str) -> None:
    _, rows, signatures = run_survey(folder, tmp_path / "out")
    path = tmp_path / "out" / "signatures" / "1" / "unit-00000.parquet"
    if damage == "garbage":
        path.write_bytes(b"PAR1 nonsense")
    else:
        kept = [signatures[name] for name in sorted(signatures)[1:]]
        write_table_unit(located(path.parent), 0, pa.Table.from_pylist(kept, SIGNATURES))
    report, again, made = run_survey(folder, tmp_path / "out")
    assert report.new == 6
    assert (again, made) == (rows, signatures)


def test_an_absent_or_damaged_unit_has_no_rows(tmp_path: Path) -> None:
    workspace = Workspace.open(tmp_path / "out", units=1)
    assert read_survey_unit(workspace, 0) == []
    write_survey(workspace, [video()])
    assert [row.uri for row in read_survey_unit(workspace, 0)] == ["/files/a.mp4"]
    (workspace.survey.local() / "unit-00000.parquet").write_bytes(b"PAR1 nonsense")
    assert read_survey_unit(workspace, 0) == []


def test_rejected_rows_and_rows_with_a_signature_are_reusable(tmp_path: Path) -> None:
    workspace = Workspace.open(tmp_path / "out", units=1)
    signed, unsigned, rejected = video("/a.mp4"), video("/b.mp4"), broken("/c.mp4", "unreadable", "no moov atom")
    write_survey(workspace, [signed, unsigned, rejected, book("/d.txt")])
    assert set(read_reusable(workspace, 0)) == {"/c.mp4"}
    write_signatures(workspace, [(signed, None)])
    assert set(read_reusable(workspace, 0)) == {"/a.mp4", "/c.mp4"}
