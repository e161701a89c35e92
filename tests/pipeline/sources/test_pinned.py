"""Inputs whose names are taken by links to other files after they were listed, or while they are read."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pipeline.sources.access import STRICT, AccessConfig
from pipeline.sources.inputs import local_file
from pipeline.sources.links import with_given
from pipeline.sources.pinned import pinned_file
from schemas.errors import InputError, Reason

SECRET, TEXT = b"the secret", b"the text of a book"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A given folder with a book in a subfolder, next to a folder with a secret of the same names."""
    for name, text in (("in", TEXT), ("out", SECRET)):
        (tmp_path / name / "sub").mkdir(parents=True)
        (tmp_path / name / "sub" / "a.txt").write_bytes(text)
    return tmp_path / "in"


def read(path: Path, access: AccessConfig = STRICT) -> bytes:
    with pinned_file(str(path), access) as pinned:
        return pinned.read_bytes()


def swap(path: Path, target: Path) -> None:
    """Replace a file or folder by a link, as a rename does."""
    path.rename(path.with_name("before"))
    path.symlink_to(target)


@pytest.mark.parametrize("what", ["sub/a.txt", "sub"])
def test_a_file_or_folder_that_a_link_replaced_since_it_was_listed_is_refused(folder: Path, what: str) -> None:
    access = with_given(STRICT, [folder])
    assert read(folder / "sub" / "a.txt", access) == TEXT
    swap(folder / what, folder.parent / "out" / what)
    with pytest.raises(InputError, match=r"leads to .*out/sub/a.txt, outside of the given folders") as refused:
        read(folder / "sub" / "a.txt", access)
    assert refused.value.reason is Reason.NOT_ALLOWED
    assert read(folder / "sub" / "a.txt", with_given(AccessConfig(follow_links=True), [folder])) == SECRET


def test_links_within_the_given_folders_and_given_links_are_read(folder: Path) -> None:
    (folder / "link.txt").symlink_to("sub/a.txt")
    (folder.parent / "given.txt").symlink_to("out/sub/a.txt")
    assert read(folder / "link.txt", with_given(STRICT, [folder])) == TEXT
    assert read(folder.parent / "given.txt", with_given(STRICT, [folder.parent / "given.txt"])) == SECRET


def test_a_row_of_a_manifest_may_be_anywhere_but_no_link_may_lead_from_there(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "list").mkdir()
    manifest = tmp_path / "list" / "m.jsonl"
    manifest.write_text(json.dumps({"uri": str(folder / "sub" / "a.txt")}))
    access = with_given(STRICT, [manifest])
    assert read(folder / "sub" / "a.txt", access) == TEXT
    swap(folder / "sub" / "a.txt", tmp_path / "out" / "sub" / "a.txt")
    with pytest.raises(InputError, match="outside of the given folders"):
        read(folder / "sub" / "a.txt", access)


def test_what_takes_the_name_while_a_file_is_read_is_not_read(folder: Path) -> None:
    path = folder / "sub" / "a.txt"
    with local_file(str(path), access=with_given(STRICT, [folder])) as pinned:
        swap(path, folder.parent / "out" / "sub" / "a.txt")
        assert pinned.read_bytes() == TEXT
        assert pinned.suffix == ".txt"
        assert subprocess.run(["cat", pinned], capture_output=True, check=True).stdout == TEXT  # children read it, too
    assert not pinned.is_symlink()


@contextmanager
def swapping(path: Path, target: Path) -> Iterator[None]:
    """Replace a file by a link to another one, and back, for as long as the body runs."""
    path.with_name("copy").write_bytes(path.read_bytes())
    ended = threading.Event()

    def swap_until_ended() -> None:
        while not ended.is_set():
            path.with_name("link").symlink_to(target)
            path.with_name("link").replace(path)
            os.link(path.with_name("copy"), path.with_name("back"))
            path.with_name("back").replace(path)

    thread = threading.Thread(target=swap_until_ended)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def test_a_name_that_is_swapped_all_the_time_never_gives_the_secret(folder: Path) -> None:
    path, access, found = folder / "sub" / "a.txt", with_given(STRICT, [folder]), []
    with swapping(path, folder.parent / "out" / "sub" / "a.txt"):
        for _ in range(500):
            try:
                found.append(read(path, access))
            except InputError as e:
                found.append(str(e.reason).encode())
    assert set(found) == {TEXT, b"not_allowed"}


def test_what_is_no_file_has_a_reason(folder: Path) -> None:
    os.mkfifo(folder / "fifo")
    for name, reason in (("fifo", Reason.UNREADABLE), ("sub", Reason.UNREADABLE), ("none", Reason.MISSING)):
        with pytest.raises(InputError) as e:
            read(folder / name)
        assert e.value.reason is reason
