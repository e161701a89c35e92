"""What workers note is in the journal of their element, and survives them."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from pipeline.runtime import journal as journal_module
from pipeline.runtime.journal import (
    DEFECT,
    MADE,
    REJECTED,
    WORKING,
    Journal,
    Summary,
    defects_in,
    note,
    note_defect,
    noting_in,
)
from schemas.errors import InputError, Reason
from schemas.storage.location import Location


@pytest.fixture
def place(tmp_path: Path) -> Location:
    return Location.parse(tmp_path / "run" / "element.jsonl")


def lines(place: Location) -> list[dict[str, object]]:
    return [json.loads(line) for line in place.read().splitlines()[1:]]


def test_a_record_is_one_line_of_json(place: Location) -> None:
    with noting_in(Journal(place)):
        note(REJECTED, uri="a\nb", reason="crashed")
    assert [(line["outcome"], line["uri"], line["reason"]) for line in lines(place)] == [(REJECTED, "a\nb", "crashed")]
    assert Summary.read(place) == Summary({"made": 0, "kept": 0, "rejected": 1}, done=True)


def test_without_a_journal_nothing_is_noted() -> None:
    note(MADE, uri="a")


def test_an_element_without_records_has_no_journal(place: Location) -> None:
    with noting_in(Journal(place)):
        pass
    assert not place.exists()


def test_what_was_noted_is_written_though_the_work_fails(place: Location) -> None:
    def work() -> None:
        with noting_in(Journal(place)):
            note(MADE, uri="a")
            note(MADE, uri="b")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        work()
    found = Summary.read(place)
    assert found is not None
    assert (found.counts[MADE], found.done) == (2, False)


def test_a_journal_is_written_at_intervals_and_at_once_if_a_record_takes_long(
    place: Location, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_module, "_WRITE_EVERY_S", 1000.0)
    journal = Journal(place)
    for uri in ("a", "b"):
        journal.note(MADE, {"uri": uri})
    assert len(lines(place)) == 1
    journal.note(WORKING, {"uri": "/v/c.mp4", "seconds": 20})
    assert len(lines(place)) == 3
    found = Summary.read(place)
    assert found is not None
    assert (found.working_uri, found.working_s, found.counts[MADE]) == ("/v/c.mp4", 20, 2)


def test_counters_sum_up_outcomes_reasons_and_facts(place: Location) -> None:
    counted: Counter[str] = Counter()
    journal = Journal(place, lambda name, n: counted.update({name: n}))
    journal.note(MADE, {"uri": "a", "tokens": 10, "video_seconds": 2.6, "reason": None})
    journal.note(REJECTED, {"uri": "b", "tokens": 0, "video_seconds": None, "reason": "black"})
    assert counted == {"items_made": 1, "items_rejected": 1, "rejected_black": 1, "tokens": 10, "video_seconds": 3}


def test_a_journal_that_cannot_be_written_does_not_stop_a_job(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with noting_in(Journal(Location.parse(tmp_path / "file" / "element.jsonl"))):
        note(MADE, uri="a")


def test_only_a_defect_is_noted_with_its_traceback(place: Location) -> None:
    defect = InputError(Reason.FAILED, "a.txt: IndexError: x")
    defect.__cause__ = IndexError("the cause")
    with noting_in(Journal(place)):
        note_defect(InputError(Reason.UNREADABLE, "damaged"))
        note_defect(defect)
    assert [line["outcome"] for line in lines(place)] == [DEFECT]
    (text,) = defects_in(place)
    assert "IndexError: the cause" in text
