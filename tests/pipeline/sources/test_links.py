"""Symbolic links of inputs: which ones are followed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline.sources.access import AccessConfig
from pipeline.sources.manifest import Manifest, read_manifest
from schemas.rows import ManifestItem

TEXT = "It was a bright cold day in April."
FOLLOW = AccessConfig(follow_links=True)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A given folder, next to one with a secret."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "secret.txt").write_text("the secret")
    (tmp_path / "out" / "secret.srt").write_text("the secret")
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.txt").write_text(TEXT)
    return folder


def listed(*inputs: Path, access: AccessConfig | None = None) -> Manifest:
    return read_manifest([str(path) for path in inputs], access=access or AccessConfig())


def reasons(manifest: Manifest) -> dict[str, str | None]:
    return {Path(item.uri).name: item.reason for item in manifest.items}


def item(manifest: Manifest, name: str) -> ManifestItem:
    return next(item for item in manifest.items if Path(item.uri).name == name)


def test_a_link_that_leads_out_of_the_folder_is_rejected(folder: Path, tmp_path: Path) -> None:
    (folder / "absolute.txt").symlink_to(tmp_path / "out" / "secret.txt")
    (folder / "relative.txt").symlink_to("../out/secret.txt")
    (folder / "chain.txt").symlink_to("relative.txt")
    (folder / "dangling.txt").symlink_to("../out/nothing.txt")
    (folder / "inside.txt").symlink_to("a.txt")
    found = listed(folder)
    assert reasons(found) == {
        "a.txt": None,
        "inside.txt": None,
        **dict.fromkeys(["absolute.txt", "relative.txt", "chain.txt", "dangling.txt"], "not_allowed"),
    }
    detail = item(found, "chain.txt").detail or ""
    assert str(tmp_path / "out" / "secret.txt") in detail
    assert "--follow-links" in detail
    assert set(reasons(listed(folder, access=FOLLOW)).values()) == {None}


def test_a_caption_or_transcript_that_leads_out_rejects_its_item(folder: Path, tmp_path: Path) -> None:
    for name in ("b.mp4", "c.mp4"):
        (folder / name).write_bytes(b"x")
    (folder / "b.txt").symlink_to(tmp_path / "out" / "secret.txt")
    (folder / "c.srt").symlink_to(tmp_path / "out" / "secret.srt")
    assert reasons(listed(folder)) == {"a.txt": None, "b.mp4": "not_allowed", "c.mp4": "not_allowed"}
    followed = listed(folder, access=FOLLOW)
    assert item(followed, "b.mp4").caption_file == str(folder / "b.txt")


def test_a_link_to_another_given_folder_is_followed(folder: Path, tmp_path: Path) -> None:
    (folder / "b.txt").symlink_to(tmp_path / "out" / "secret.txt")
    assert reasons(listed(folder, tmp_path / "out"))["b.txt"] is None


def test_a_given_folder_or_file_may_be_a_link_itself(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(folder)
    (folder / "b.txt").symlink_to("a.txt")
    assert reasons(listed(tmp_path / "link")) == {"a.txt": None, "b.txt": None}
    (tmp_path / "given.txt").symlink_to(tmp_path / "out" / "secret.txt")
    assert reasons(listed(tmp_path / "given.txt")) == {"given.txt": None}


def test_links_that_form_a_loop_end(folder: Path) -> None:
    (folder / "x.txt").symlink_to("y.txt")
    (folder / "y.txt").symlink_to("x.txt")
    (folder / "sub").mkdir()
    (folder / "sub" / "up").symlink_to("..")
    (folder / "sub" / "self").symlink_to("self")
    for access in (AccessConfig(), FOLLOW):
        found = listed(folder, access=access)
        assert reasons(found) == {"a.txt": None, "x.txt": "not_allowed", "y.txt": "not_allowed"}
        assert item(found, "x.txt").detail == f"{folder}/x.txt: its symbolic links form a loop"


def test_links_to_folders_are_skipped_and_followed_once_on_request(folder: Path, tmp_path: Path) -> None:
    (folder / "other").symlink_to(tmp_path / "out")
    (folder / "same").symlink_to(tmp_path / "out")
    assert listed(folder).skipped == {"linked folder": 2}
    followed = listed(folder, access=FOLLOW)
    assert [Path(i.uri).relative_to(folder).as_posix() for i in followed.items] == ["a.txt", "other/secret.txt"]
    assert followed.skipped["folder that is linked several times"] == 1


def test_a_row_of_a_manifest_names_any_path_and_its_links_do_not_lead_out(folder: Path, tmp_path: Path) -> None:
    manifest = folder / "m.jsonl"
    (folder / "link.txt").symlink_to("../out/secret.txt")
    (folder / "sub").symlink_to("../out")
    (tmp_path / "out" / "again.txt").symlink_to("secret.txt")
    (tmp_path / "out" / "back.txt").symlink_to(folder / "a.txt")
    names = ["a.txt", "../out/secret.txt", "link.txt", "sub/secret.txt", "../out/again.txt", "../out/back.txt"]
    rows = [{"uri": name, "title": name} for name in names] + [{"uri": "v.mp4", "transcript": "sub/secret.srt"}]
    manifest.write_text("\n".join(map(json.dumps, rows)))
    found = {i.title or "v.mp4": i.reason for i in listed(manifest).items}
    refused = ["link.txt", "sub/secret.txt", "v.mp4"]
    assert found == {**dict.fromkeys(names), **dict.fromkeys(refused, "not_allowed"), "../out/back.txt": "not_allowed"}
    assert reasons(listed(manifest, folder))["back.txt"] is None  # the folder is given as well


def test_a_table_of_texts_may_be_a_link(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "out" / "books.jsonl").write_text(json.dumps({"text": TEXT}) + "\n")
    (folder / "books.jsonl").symlink_to(tmp_path / "out" / "books.jsonl")
    assert [i.reason for i in listed(folder / "books.jsonl").items] == [None]
