"""A takedown removes items from everything and they do not return; it can be killed and repeated."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipeline.dataset.verify.verify import verify
from pipeline.dedup.block_list import BlockList
from pipeline.reports.listing import ItemFilter, list_items
from pipeline.runtime.beam import Runner
from pipeline.runtime.manifest_file import read_listed
from pipeline.runtime.token_store import TokenStore
from pipeline.runtime.workspace import Workspace
from pipeline.select.config import SelectConfig
from pipeline.select.job import select_items
from pipeline.select.selection import read_selection
from pipeline.takedown.takedown import TakedownConfig, take_down
from schemas.dataset import read_card
from schemas.errors import ConfigError, DatasetError
from schemas.fingerprint import sha256_file
from schemas.storage.location import Location, located
from tests.support.datasets.removal_datasets import Killed, contents, killed_at
from tests.support.finished_workspace import CLIP, FILM, NOVEL, PAIRS, ROWS
from tests.support.leftovers import files_with
from tests.support.servers.object_servers import ObjectServer
from tests.support.survey_rows import write_survey

TITLE = b"A <b>clip</b>"
DATASET = "64"
pytestmark = pytest.mark.slow


def receipts(workspace: Workspace) -> list[Path]:
    return [receipt.local() for receipt in (workspace.takedown / "receipts").list("*.json")]


def reasons(workspace: Workspace) -> dict[str, str]:
    rows = list_items(workspace, ItemFilter()).to_pylist()
    return {Path(row["uri"]).name: row["reason"] for row in rows if row["reason"]}


def is_verified(workspace: Workspace) -> bool:
    return verify(workspace.packed(DATASET).local(), store=TokenStore(workspace.tokens)).problems == ()


def test_nothing_of_an_item_is_left_but_its_name_and_hashes(workspace: Workspace) -> None:
    (workspace.root.local() / "report.html").write_bytes(TITLE)
    log = workspace.start_log("survey")
    log.error_text.write(TITLE)
    log.journal("element-00000").write(b'{"uri": "/v/clip.mp4"}\n{"uri": "/v/film.mp4"}\n')
    tokens = CLIP.tokens[2:12].tobytes()
    assert len(files_with(workspace.root, TITLE, tokens)) > 4
    take_down(workspace, ["clip.mp4"], TakedownConfig())
    assert files_with(workspace.root, TITLE, tokens) == []
    hashes = [str(ROWS["/v/clip.mp4"][name]).encode() for name in ("document_id", "content_id")]
    assert files_with(workspace.root, *hashes, without=["takedown"]) == [f"packed/{DATASET}/dataset.json"]
    assert log.journal("element-00000").read() == b'{"uri": "/v/film.mp4"}\n'
    assert is_verified(workspace)
    assert reasons(workspace)["clip.mp4"] == "taken_down"
    assert len(list_items(workspace, ItemFilter())) == len(ROWS)
    assert len(read_selection(workspace).rows) == len(ROWS)
    assert len(read_listed(workspace, ["uri"])) == len(ROWS)


def test_near_duplicates_are_removed_unless_only_the_item_is_wanted(workspace: Workspace, tmp_path: Path) -> None:
    other = Workspace.existing(Path(shutil.copytree(workspace.root.local(), tmp_path / "other")))
    take_down(workspace, ["/v/clip.mp4"], TakedownConfig())
    assert {name for name, reason in reasons(workspace).items() if reason == "taken_down"} == {"clip.mp4", "small.mp4"}
    take_down(other, ["/v/clip.mp4"], TakedownConfig(near_duplicates=False))
    assert {name for name, reason in reasons(other).items() if reason == "taken_down"} == {"clip.mp4"}
    assert len(pq.read_table(other.pairs.local())) == len(PAIRS) - 1


def test_copies_under_other_names_are_always_removed(workspace: Workspace) -> None:
    take_down(workspace, [FILM.id[:10]], TakedownConfig(near_duplicates=False))
    assert {name for name, reason in reasons(workspace).items() if reason == "taken_down"} == {"film.mp4", "copy.mp4"}
    assert "val" not in read_card(workspace.packed(DATASET).local()).splits
    assert is_verified(workspace)


def test_the_receipt_has_what_where_and_when_with_the_hashes_of_every_changed_file(
    workspace: Workspace, finished: Workspace
) -> None:
    take_down(workspace, ["novel.txt"], TakedownConfig())
    (path,) = receipts(workspace)
    receipt = json.loads(path.read_text())
    assert [(item["uri"], item["because"].split(":")[0]) for item in receipt["removed"]] == [
        ("/b/edition.txt", "near-duplicate"),
        ("/b/novel.txt", "requested"),
    ]
    (dataset,) = receipt["datasets"]
    assert dataset["documents"] == [NOVEL.id]
    assert dataset["fingerprint_before"] == read_card(finished.packed(DATASET).local()).fingerprint
    assert dataset["fingerprint_after"] == read_card(workspace.packed(DATASET).local()).fingerprint
    assert receipt["started"] <= receipt["finished"]
    changed = {row["path"]: (row["sha256_before"], row["sha256_after"]) for row in receipt["files"]}
    before, after = contents(finished.root.local()), contents(workspace.root.local())
    different = {name for name in before if before[name] != after.get(name)}
    assert changed.keys() == different
    for name, (old, new) in changed.items():
        assert old == sha256_file(finished.root / name)
        assert new == (sha256_file(workspace.root / name) if name in after else None)
    assert not (workspace.takedown / "pending").list()


def test_a_repeated_takedown_changes_nothing(workspace: Workspace, capfd: pytest.CaptureFixture[str]) -> None:
    take_down(workspace, ["clip.mp4"], TakedownConfig())
    before = contents(workspace.root.local())
    for name in ("clip.mp4", CLIP.id):
        take_down(workspace, [name], TakedownConfig())
        assert "nothing of these items was left" in capfd.readouterr().err
    assert contents(workspace.root.local()) == before


def test_a_dry_run_states_what_would_be_removed_and_writes_nothing(
    workspace: Workspace, capfd: pytest.CaptureFixture[str]
) -> None:
    before = contents(workspace.root.local())
    take_down(workspace, ["clip.mp4"], TakedownConfig(), dry_run=True)
    printed = capfd.readouterr().err
    assert contents(workspace.root.local()) == before
    assert "/v/clip.mp4 (requested)" in printed
    assert "/v/small.mp4 (near-duplicate: /v/clip.mp4 contains 90% of it" in printed
    assert "documents removed: 1; sequences repacked: " in printed


@pytest.mark.parametrize("names", [["nowhere.mp4"], ["clip.mp4", "nowhere.mp4"], ["/v/gone."], []])
def test_unknown_names_change_nothing(workspace: Workspace, names: list[str]) -> None:
    before = contents(workspace.root.local())
    with pytest.raises(ConfigError, match="no item matches|name at least one item"):
        take_down(workspace, names, TakedownConfig())
    assert contents(workspace.root.local()) == before


@pytest.mark.parametrize("every", [36, pytest.param(9, marks=pytest.mark.campaign)])
def test_a_takedown_that_was_killed_is_completed_by_the_next_one(
    every: int, workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def made(root: Location) -> dict[str, bytes]:
        return {name: data for name, data in contents(root).items() if name.split("/")[0] in ("packed", "tokens")}

    whole = Workspace.existing(Path(shutil.copytree(workspace.root.local(), tmp_path / "whole")))
    with killed_at(10_000, monkeypatch) as done:
        take_down(whole, ["clip.mp4"], TakedownConfig())
    for step in range(0, len(done), every):
        copy = Workspace.existing(Path(shutil.copytree(workspace.root.local(), tmp_path / f"{step}")))
        with killed_at(step, monkeypatch), pytest.raises(Killed):
            take_down(copy, ["clip.mp4"], TakedownConfig())
        assert verify(copy.packed(DATASET).local()).problems == ()
        take_down(copy, ["clip.mp4"], TakedownConfig())
        assert made(copy.root) == made(whole.root)
        assert files_with(copy.root, TITLE, CLIP.tokens[2:12].tobytes()) == []
        assert reasons(copy)["clip.mp4"] == "taken_down"
        assert not (copy.takedown / "pending").list()
        shutil.rmtree(copy.root.local())


def test_an_item_that_is_no_longer_listed_is_found_in_an_old_dataset(workspace: Workspace) -> None:
    write_survey(workspace, [row for row in ROWS.values() if row["uri"] != "/v/clip.mp4"], [])
    shutil.rmtree(workspace.selection.local())
    take_down(workspace, ["/v/clip.mp4"], TakedownConfig())
    assert CLIP.id in read_card(workspace.packed(DATASET).local()).taken_down
    assert BlockList.read(workspace).with_hash(CLIP.id) is not None


def test_select_rejects_a_blocked_item_of_a_restored_survey(workspace: Workspace) -> None:
    take_down(workspace, ["clip.mp4"], TakedownConfig())
    write_survey(workspace, list(ROWS.values()), PAIRS)
    report = select_items(workspace, SelectConfig(), Runner())
    assert report.rejected["taken_down"] == 2
    assert files_with(workspace.selection, TITLE) == []


def test_a_damaged_dataset_is_named_and_the_takedown_is_completed_when_it_is_gone(workspace: Workspace) -> None:
    for shard in workspace.packed(DATASET).local().glob("*.tar"):
        shard.write_bytes(shard.read_bytes()[:-512])
    with pytest.raises(DatasetError, match="removed from everything else"):
        take_down(workspace, ["clip.mp4"], TakedownConfig())
    assert files_with(workspace.root, TITLE, CLIP.tokens[2:12].tobytes(), without=["packed"]) == []
    assert receipts(workspace) == []
    shutil.rmtree(workspace.packed(DATASET).local())
    take_down(workspace, ["clip.mp4"], TakedownConfig())
    assert len(receipts(workspace)) == 1


def test_an_unfinished_dataset_is_deleted(workspace: Workspace) -> None:
    (workspace.packed(DATASET).local() / "dataset.json").unlink()
    take_down(workspace, ["clip.mp4"], TakedownConfig())
    assert not workspace.packed(DATASET).local().exists()


def test_text_that_a_kept_item_has_from_a_removed_one_is_removed_with_its_tokens(workspace: Workspace) -> None:
    shutil.rmtree(workspace.selection.local())
    rows = [row | {"captions": ["zebra"]} if row["uri"] == "/v/small.mp4" else row for row in ROWS.values()]
    write_survey(workspace, rows, PAIRS)
    select_items(workspace, SelectConfig(), Runner())
    take_down(workspace, ["/v/small.mp4"], TakedownConfig(near_duplicates=False))
    assert files_with(workspace.root, b"zebra", CLIP.tokens[2:12].tobytes()) == []
    assert "clip.mp4" not in reasons(workspace)
    assert BlockList.read(workspace).with_hash(CLIP.id) is None
    (path,) = receipts(workspace)
    assert json.loads(path.read_text())["text_removed_from"] == {CLIP.id: "/v/clip.mp4"}


def test_a_copy_of_a_dataset_elsewhere_is_cleared_on_request(workspace: Workspace, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(workspace.packed(DATASET).local(), tmp_path / "elsewhere" / "64"))
    take_down(workspace, ["clip.mp4"], TakedownConfig(also=(located(copy),)))
    assert CLIP.id in read_card(copy).taken_down
    assert verify(copy).problems == ()


def test_models_and_inputs_that_still_have_an_item_are_named(workspace: Workspace) -> None:
    run = workspace.root.parent.local() / "model"
    (run / "checkpoints" / "20").mkdir(parents=True)
    facts = {"config": {"dataset": [str(workspace.packed(DATASET).local())]}}
    facts |= {"dataset_fingerprint": read_card(workspace.packed(DATASET).local()).fingerprint}
    (run / "config-from-0.json").write_text(json.dumps(facts))
    take_down(workspace, ["clip.mp4"], TakedownConfig())
    (path,) = receipts(workspace)
    said = json.loads(path.read_text())["not_removed"]
    assert any(f"model {run} was trained on" in line and "checkpoints 20" in line for line in said)
    with pytest.raises(ConfigError, match="min_containment must be above 0"):
        TakedownConfig(min_containment=0)


def test_a_copy_of_a_dataset_in_a_bucket_is_cleared_on_request(workspace: Workspace, s3: ObjectServer) -> None:
    copy, here = s3.bucket() / "sets" / "64", workspace.packed(DATASET)
    for file in here.list():
        (copy / file.name).write(file.read())
    take_down(workspace, ["clip.mp4"], TakedownConfig(also=(copy,)))
    assert read_card(copy) == read_card(here)
    assert verify(copy).problems == ()
    assert {file.name: file.read() for file in copy.list()} == {file.name: file.read() for file in here.list()}
    (path,) = receipts(workspace)
    changed = [row["path"] for row in json.loads(path.read_text())["files"]]
    assert f"{copy}/dataset.json" in changed
