from __future__ import annotations

import pytest

from pipeline.language_models.refusals import is_refusal


@pytest.mark.parametrize(
    "text", ["I'm sorry, but I can't help.", "As an AI I see nothing.", "It is not mentioned in it."]
)
def test_refusals_are_recognized(text: str) -> None:
    assert is_refusal(text)


def test_a_caption_is_no_refusal() -> None:
    assert not is_refusal("A sorry dog cannot find its bone.")
