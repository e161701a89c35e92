"""Options of the server that make no sense are refused, and only loopback addresses count as this machine's."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.serving.config import Access, Limits
from schemas.errors import ConfigError


@pytest.mark.parametrize(
    "options",
    [{"max_body_mb": 0}, {"timeout_s": float("nan")}, {"queue": -1}, {"connections": 0}, {"max_reply_tokens": 0}],
)
def test_limits_that_make_no_sense_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(options))):
        Limits(**options)


def test_the_key_comes_from_the_option_or_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LONGREEL_API_KEY", raising=False)
    assert Access().key is None
    monkeypatch.setenv("LONGREEL_API_KEY", "b")
    assert (Access().key, Access(api_key="a").key) == ("b", "a")
    for wrong in ({"api_key": " "}, {"port": 1 << 16}):
        with pytest.raises(ConfigError):
            Access(**wrong)


def test_only_loopback_addresses_are_of_this_machine() -> None:
    hosts = ("127.0.0.1", "127.1.2.3", "::1", "localhost", "0.0.0.0", "::", "10.0.0.1", "example.org")
    assert [Access(host=host).is_loopback for host in hosts] == [True] * 4 + [False] * 4
