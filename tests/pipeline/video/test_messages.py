"""The message types of the decoder process."""

from __future__ import annotations

import dataclasses
from typing import get_args

import pytest

from pipeline.video.messages import Reply, Request, ToChild, ToParent


def test_messages_to_and_from_the_child_are_different_types() -> None:
    assert not set(get_args(ToChild)) & set(get_args(ToParent))


@pytest.mark.parametrize("message", [*get_args(ToChild), *get_args(ToParent)])
def test_messages_are_immutable(message: type) -> None:
    assert dataclasses.is_dataclass(message)
    assert message.__dataclass_params__.frozen  # type: ignore[attr-defined]


def test_requests_and_replies_have_an_id() -> None:
    for message in (*get_args(Request), *get_args(Reply)):
        assert dataclasses.fields(message)[0].name == "id"
