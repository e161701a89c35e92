from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.runtime.kept_tokenizer import check_kept, keep_tokenizer, kept_hashes, record_of
from pipeline.runtime.workspace import Workspace
from schemas.errors import DatasetError
from schemas.weight_files.tokenizer_files import TokenizerFiles

FILES = TokenizerFiles("tokenizer.model", b"a model", {"bos_token": "<s>"})
OTHER = TokenizerFiles("tokenizer.json", b"{}", {})


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace.open(tmp_path / "out", units=2)


def test_the_last_tokenizer_is_kept_with_its_hashes(workspace: Workspace) -> None:
    assert kept_hashes(workspace) == {}
    for files in (FILES, OTHER, OTHER):
        keep_tokenizer(workspace, files)
        assert kept_hashes(workspace) == files.hashes()
        assert {place.name for place in workspace.text_tokenizer.list()} == files.hashes().keys()
        check_kept(workspace)


def test_the_same_tokenizer_is_not_written_again_and_repairs_damage(workspace: Workspace) -> None:
    keep_tokenizer(workspace, FILES)
    path = workspace.text_tokenizer / "tokenizer.model"
    before = path.stat()
    keep_tokenizer(workspace, FILES)
    assert path.stat() == before
    path.write(b"b model")
    with pytest.raises(DatasetError, match=r"tokenizer\.model is damaged.*--text-tokenizer"):
        check_kept(workspace)
    keep_tokenizer(workspace, FILES)
    check_kept(workspace)


def test_files_of_a_killed_command_are_not_used(workspace: Workspace) -> None:
    keep_tokenizer(workspace, FILES)
    record_of(workspace).delete()
    with pytest.raises(DatasetError, match="is incomplete: the command that wrote it was killed"):
        kept_hashes(workspace)
    record_of(workspace).write(b"{}")
    with pytest.raises(DatasetError, match=r"text\.json is damaged"):
        kept_hashes(workspace)
    keep_tokenizer(workspace, OTHER)
    check_kept(workspace)
