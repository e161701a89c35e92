"""The data card of a dataset, in Markdown and HTML."""

from __future__ import annotations

import re

import pyarrow.parquet as pq

from pipeline.dataset.removal.remove import remove_items
from pipeline.dataset.verify.verify import verify
from pipeline.reports.data_card import _escaped, write_data_cards
from pipeline.runtime.workspace import Workspace
from schemas.dataset import read_card
from schemas.dataset_files import LEDGER, README, README_PAGE
from tests.support.finished_workspace import ROWS


def cells(text: str, title: str) -> list[list[str]]:
    """Return the rows of a table of the card."""
    table = re.search(rf"\*\*{title}\*\*\n\n((?:\|.*\n)+)", text)
    assert table is not None, title
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in table[1].splitlines()[2:]]


def test_the_card_has_licenses_with_tokens_reasons_languages_and_splits(mine: Workspace) -> None:
    write_data_cards(mine)
    folder = mine.packed("64")
    text = (folder / README).read().decode()
    ledger = pq.read_table(read_card(folder).file(folder, LEDGER).local(), columns=["license", "length"])
    tokens = ledger.group_by("license").aggregate([("length", "sum")]).to_pylist()
    expected = {row["license"] or "not specified": f"{row['length_sum']:,}" for row in tokens}
    assert dict(cells(text, "Licenses")) == expected
    assert sum(int(row[2].replace(",", "")) for row in cells(text, "Sources")) == sum(r["length_sum"] for r in tokens)
    assert ["near duplicate", "2"] in cells(text, "Rejected items")
    assert cells(text, "Languages of books") == [["en", "1", "9,980"]]
    assert [row[0] for row in cells(text, "Splits")] == ["train", "val"]
    assert "the longest 1 h 0 min" in text
    assert "longreel takedown ITEM" in text
    assert not re.search(r"/v/|/b/", text)  # no address of an item


def test_the_page_has_the_same_content_and_loads_nothing(mine: Workspace) -> None:
    write_data_cards(mine)
    page = (mine.packed("64") / README_PAGE).read().decode()
    for words in ("Licenses and sources", "near duplicate", "Known limits", "Have an item removed"):
        assert words in page
    assert "<script" not in page


def test_cards_are_part_of_a_verified_dataset_and_are_written_only_if_they_change(mine: Workspace) -> None:
    write_data_cards(mine)
    path = mine.packed("64").local() / README
    before = path.stat()
    write_data_cards(mine)
    write_data_cards(mine, only_missing=True)
    assert (path.stat().st_mtime_ns, path.stat().st_ino) == (before.st_mtime_ns, before.st_ino)
    assert [problem.what for problem in verify(mine.packed("64")).problems] == []
    (mine.packed("64") / "dataset.json").delete()
    write_data_cards(mine)  # an unfinished dataset has none


def test_a_changed_dataset_loses_its_card_until_it_is_written_again(mine: Workspace) -> None:
    write_data_cards(mine)
    folder = mine.packed("64")
    assert remove_items(folder, [ROWS["/v/clip.mp4"]["document_id"]]) is not None
    assert not (folder / README).exists()
    write_data_cards(mine, only_missing=True)
    text = (folder / README).read().decode()
    assert "Documents removed from this dataset so far: 1." in text


def test_text_from_data_is_no_markup(mine: Workspace) -> None:
    assert _escaped("[a](b) | <i>*x*`\n") == r"\[a\](b) \| \<i\>\*x\*\`\\n"
