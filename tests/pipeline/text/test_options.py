"""The options of texts that several jobs share."""

from __future__ import annotations

import dataclasses

import pytest

from pipeline.text.books import BookConfig
from pipeline.text.options import TextOptions
from pipeline.text.qa import QaConfig


def test_the_defaults_are_those_of_books_and_of_questions_and_answers() -> None:
    assert TextOptions() == TextOptions(books=BookConfig(), qa=QaConfig())


def test_options_are_immutable_and_can_be_used_as_keys() -> None:
    options = TextOptions(books=BookConfig(mask_pii=True))
    assert len({options, TextOptions(books=BookConfig(mask_pii=True)), TextOptions()}) == 2
    with pytest.raises(dataclasses.FrozenInstanceError):
        options.qa = QaConfig()  # type: ignore[misc]
