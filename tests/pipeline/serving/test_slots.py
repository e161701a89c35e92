"""Slots are counted, and free again however their requests end."""

from __future__ import annotations

import pytest

from pipeline.serving.errors import ApiError
from pipeline.serving.slots import Slots


def test_a_request_beyond_the_limit_is_refused_until_another_ends() -> None:
    slots = Slots(1)
    with slots.taken():
        with pytest.raises(ApiError) as found, slots.taken():
            raise AssertionError
        assert (found.value.status, found.value.headers["Retry-After"]) == (429, "5")
    with pytest.raises(KeyError), slots.taken():
        raise KeyError
    assert slots.used == 0
