"""Items are found by address, id, prefix or file name; `test_explain.py` covers the messages."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.reports.item_lookup import ItemLookup
from pipeline.runtime.workspace import Workspace
from schemas.errors import ConfigError, DatasetError
from tests.support.survey_rows import video, write_survey


@pytest.fixture
def lookup(tmp_path: Path) -> ItemLookup:
    workspace = Workspace.open(tmp_path / "out", units=2)
    rows = [
        video("/v/a.mp4", document_id="a" * 64, content_id="c" * 64),
        video("/w/b.mp4", document_id="b" * 64, content_id="c" * 64),
        video("/w/a.mp4", document_id="d" * 64, content_id="e" * 64),
    ]
    write_survey(workspace, rows)
    return ItemLookup.of(workspace)


@pytest.mark.parametrize("item", ["/v/a.mp4", "a" * 64, "a" * 8, f"{'a' * 64}#00002"])
def test_an_item_is_found_by_address_id_prefix_and_clip_id(lookup: ItemLookup, item: str) -> None:
    assert lookup.find(item) == ["/v/a.mp4"]


def test_a_content_id_finds_all_copies(lookup: ItemLookup) -> None:
    assert lookup.find("c" * 8) == ["/v/a.mp4", "/w/b.mp4"]
    assert lookup.addresses("c" * 64) == ["/v/a.mp4", "/w/b.mp4"]
    assert lookup.addresses("c" * 64, 1) == ["/v/a.mp4"]
    assert lookup.addresses(None) == []


def test_a_prefix_shorter_than_eight_characters_finds_nothing(lookup: ItemLookup) -> None:
    with pytest.raises(ConfigError, match="no item matches 'aaaaaaa'"):
        lookup.find("a" * 7)


def test_a_file_name_of_several_items_is_ambiguous(lookup: ItemLookup) -> None:
    assert lookup.find("b.mp4") == ["/w/b.mp4"]
    with pytest.raises(ConfigError, match=r"'a\.mp4' matches 2 items"):
        lookup.find("a.mp4")


def test_an_empty_workspace_names_the_command_to_run(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="run `longreel survey INPUT"):
        ItemLookup.of(Workspace.open(tmp_path / "empty", units=1))
