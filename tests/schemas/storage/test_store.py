from __future__ import annotations

import pytest

from schemas.storage.store import is_hidden


@pytest.mark.parametrize("name", [".x.parquet.0123abcd.tmp", ".workspace.json.lease", ".a\nb.0123abcd.tmp"])
def test_names_of_temporary_files_and_leases_are_hidden(name: str) -> None:
    assert is_hidden(name)


@pytest.mark.parametrize("name", ["x.0123abcd.tmp", ".hidden", "x.lease", ".x.tmp", ".x.0123ABCD.tmp"])
def test_other_names_are_not_hidden(name: str) -> None:
    assert not is_hidden(name)
