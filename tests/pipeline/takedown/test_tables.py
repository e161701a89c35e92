"""Items leave the tables of a workspace, and all other rows stay as they were."""

from __future__ import annotations

import shutil

import pyarrow.parquet as pq
import pytest

from pipeline.runtime.token_store import TokenStore, orphans
from pipeline.runtime.workspace import Workspace
from pipeline.takedown.takedown import TakedownConfig, take_down
from schemas.errors import DatasetError
from schemas.storage.location import located
from tests.support.finished_workspace import CLIP, FILM, NOVEL
from tests.support.leftovers import files_with

pytestmark = pytest.mark.slow


def test_other_tokens_and_pairs_stay_as_they_were(workspace: Workspace) -> None:
    before = {row["document_id"]: row for row in TokenStore(workspace.tokens).table().to_pylist()}
    take_down(workspace, ["clip.mp4"], TakedownConfig(near_duplicates=False))
    store = TokenStore(workspace.tokens)
    after = {row["document_id"]: row for row in store.table().to_pylist()}
    assert after.keys() == {FILM.id, NOVEL.id}
    for document in (FILM, NOVEL):
        row = after[document.id]
        assert store.read(row["unit"], row["batch"], row["row"]).tolist() == document.tokens.tolist()
        places = ("unit", "batch", "row")
        same = [
            {name: value for name, value in one[document.id].items() if name not in places} for one in (before, after)
        ]
        assert same[0] == same[1]
    assert pq.read_table(workspace.pairs.local())["kind"].to_pylist() == ["book"]


def test_tokens_that_no_index_names_are_deleted(workspace: Workspace) -> None:
    arrow = next(workspace.tokens.local().glob("unit-*.arrow"))
    stray = arrow.with_name("unit-00000-00000000.arrow")
    shutil.copy(arrow, stray)
    assert orphans(workspace.tokens) == [located(stray)]
    take_down(workspace, ["clip.mp4"], TakedownConfig())
    assert orphans(workspace.tokens) == []


def test_a_damaged_table_stops_a_takedown_before_it_begins_and_may_be_deleted(workspace: Workspace) -> None:
    title = b"A <b>clip</b>"
    for folder in (workspace.selection, workspace.signatures):
        for path in folder.list("*.parquet"):
            path.write(path.read()[:-4] + bytes(4))
    with pytest.raises(DatasetError, match="cannot be read"):
        take_down(workspace, ["clip.mp4"], TakedownConfig())
    assert not workspace.takedown.exists()
    shutil.rmtree(workspace.selection.local())
    shutil.rmtree(workspace.signatures.local())
    take_down(workspace, ["clip.mp4"], TakedownConfig())
    assert files_with(workspace.root, title, CLIP.tokens[2:12].tobytes()) == []
