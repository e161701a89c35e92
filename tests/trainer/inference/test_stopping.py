from __future__ import annotations

from collections.abc import Sequence

from trainer.inference.requests import StopConditions
from trainer.inference.stopping import before_stop, ending


def _text(ids: Sequence[int]) -> str:
    return bytes(ids).decode(errors="replace")


def test_a_reply_ends_before_a_stop_id() -> None:
    assert ending([], [4, 2, 5], StopConditions(ids=(2,)), remaining=9) == ([4], "stop", 2)


def test_a_reply_ends_with_the_id_that_completes_a_stop_text() -> None:
    stop = StopConditions(texts=("\nUSER:", "é."), decode=_text)
    assert ending([*b"fine.\nUS"], [*b"ER: why"], stop, remaining=99) == ([*b"ER:"], "stop", "\nUSER:")
    assert ending([*"cafés é".encode()], [*b". So"], stop, remaining=99) == ([46], "stop", "é.")


def test_a_reply_ends_at_its_length() -> None:
    assert ending([1], [2, 3], StopConditions(), remaining=2) == ([2, 3], "length", None)
    assert ending([1], [2], StopConditions(), remaining=2) == ([2], None, None)
    assert ending([1], [2, 3], StopConditions(ids=(3,)), remaining=2) == ([2], "stop", 3)


def test_text_is_cut_before_the_first_stop() -> None:
    assert before_stop("a END b STOP", ("STOP", "END")) == "a "
    assert before_stop("a b", ("STOP",)) == "a b"
