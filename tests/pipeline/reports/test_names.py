"""Names of measures and reasons in words, and addresses without their common folder."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.reports.names import common_folder, readable, shortened


@pytest.mark.parametrize(
    ("name", "words"),
    [("near_duplicate", "near duplicate"), ("duration_s", "duration (s)"), ("nsfw", "NSFW"), ("words", "words")],
)
def test_names_are_words(name: str, words: str) -> None:
    assert readable(name) == words


@given(st.lists(st.text("ab/", max_size=12).map(lambda name: f"/data/films/{name}"), max_size=6))
def test_all_addresses_begin_with_the_common_folder(addresses: list[str]) -> None:
    folder = common_folder(pa.chunked_array([addresses], pa.string()))
    assert all(address.startswith(folder) for address in addresses)
    assert not addresses or folder.startswith("/data/films/")
    assert all(shortened(address, folder).startswith("…/") for address in addresses if folder)


def test_a_short_common_folder_is_kept() -> None:
    assert common_folder(pa.chunked_array([["/v/a.mp4", "/v/b.mp4"]])) == ""
    assert shortened("/v/a.mp4", "") == "/v/a.mp4"
    assert common_folder(pa.chunked_array([], pa.string())) == ""
