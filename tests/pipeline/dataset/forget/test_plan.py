"""Which documents a request to forget selects."""

from __future__ import annotations

import pytest

from pipeline.dataset.forget.plan import Found, choose
from schemas.errors import ConfigError


def test_a_prefix_of_two_item_ids_matches_neither() -> None:
    found = [Found(f"{name}{'0' * 54}#0000{n}", "f", None) for name in ("abcdefgh01", "abcdefgh02") for n in range(2)]
    with pytest.raises(ConfigError, match="beginning of 2 documents"):
        choose(["abcdefgh"], found, [])
    with pytest.raises(ConfigError, match="beginning of 2 documents"):
        choose([found[0].document_id[:-1]], found, [])
    assert choose(["abcdefgh01"], found, [])[0] == found[:2]
