"""Text in pieces: whole characters, nothing of a stop text, and the ids that belong to each piece."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.serving.reply_text import ReplyText
from trainer.inference.requests import TokenLogprob

BYTES = SimpleNamespace(surfaces=tuple(bytes([i]) for i in range(256)), prefix=" ")


def reply(stops: tuple[str, ...] = (), *, continues: bool = True) -> ReplyText:
    return ReplyText(BYTES, stops, continues=continues)  # type: ignore[arg-type]


def test_a_character_comes_when_its_last_byte_does() -> None:
    text = reply()
    assert [text.add([byte]).text for byte in "aé€😀".encode()] == ["a", "", "é", "", "", "€", "", "", "", "😀"]
    assert text.finish().text == ""


def test_the_space_before_a_reply_in_a_chat_is_removed_once() -> None:
    assert reply(continues=False).add(b"  a b").text == " a b"
    assert reply(continues=True).add(b" a").text == " a"


def test_nothing_of_a_stop_text_is_returned_however_it_is_divided() -> None:
    text = reply(("END", "ENOUGH"))
    assert [text.add(piece).text for piece in (b"one E", b"N", b"O", b"D EN", b"D more")] == [
        "one ",
        "",
        "",
        "ENOD ",
        "",
    ]
    assert text.stopped


def test_the_beginning_of_a_stop_text_is_returned_at_the_end() -> None:
    text = reply(("END",))
    assert text.add(b"an EN").text == "an "
    assert text.finish().text == "EN"
    assert not text.stopped


@given(st.binary(max_size=30), st.lists(st.integers(1, 5)), st.sampled_from(((), ("ab",), ("é", "aé"), ("\x00",))))
def test_pieces_are_the_whole_text_up_to_the_stop(data: bytes, sizes: list[int], stops: tuple[str, ...]) -> None:
    text, got, at = reply(stops), "", 0
    for size in [*sizes, len(data) + 1]:
        if not text.stopped:
            got += text.add(data[at : at + size]).text
        at += size
    got += text.finish().text if not text.stopped else ""
    found = [place for place in (data.find(stop.encode()) for stop in stops) if place >= 0]
    assert got == data[: min(found) if found else len(data)].decode("utf-8", "replace")


def test_ids_come_with_their_text_and_none_after_the_stop() -> None:
    text = reply(("cd",))
    pieces = [text.add([byte], [TokenLogprob(id=byte, logprob=-1.0)]) for byte in "é".encode() + b"bcd"]
    ids = [[token.found.id for token in piece.tokens] for piece in pieces]
    assert ids == [[], [0xC3, 0xA9], [ord("b")], [], []]
    assert [token.offset for piece in pieces for token in piece.tokens] == [0, 1, 1]


def test_special_tokens_and_codes_of_pictures_have_no_text() -> None:
    assert reply().add([97, 1000, 98]).text == "ab"


@pytest.mark.parametrize("size", [1, 7])
def test_all_ids_are_reported_at_the_end(size: int) -> None:
    text, data = reply(("zz",)), "aé z".encode() + b"\xff z"
    found = []
    for at in range(0, len(data), size):
        ids = data[at : at + size]
        found += text.add(ids, [TokenLogprob(id=i, logprob=0.0) for i in ids]).tokens
    found += text.finish().tokens
    assert bytes(token.found.id for token in found) == data
