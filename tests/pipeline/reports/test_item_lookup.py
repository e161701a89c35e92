"""Items are found by address, id, prefix or file name; `test_explain.py` covers the messages."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pipeline.reports.item_lookup import ItemLookup
from pipeline.runtime.workspace import Workspace
from pipeline.sources.addresses import address_of
from pipeline.sources.manifest import read_manifest
from schemas.errors import ConfigError, DatasetError
from schemas.rows import ManifestItem
from tests.support.survey_rows import Row, broken, video, write_survey


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


def test_a_file_whose_name_is_not_utf8_is_found_by_path_and_name(tmp_path: Path) -> None:
    names = [os.fsdecode(b"caf\xe9.mp4"), os.fsdecode(b"caf\xea.mp4"), "caf\\xe9.mp4"]
    for name in names:
        (tmp_path / name).write_bytes(b"x")
    workspace = Workspace.open(tmp_path / "out", units=2)
    write_survey(workspace, [item_row(item) for item in read_manifest([str(tmp_path)]).items])
    lookup = ItemLookup.of(workspace)
    for name in names:
        (found,) = lookup.find(str(tmp_path / name))
        assert lookup.find(name) == [found] == [address_of(tmp_path / name)]


def item_row(item: ManifestItem) -> Row:
    return broken(item.uri, "bad_name", item.detail or "")
