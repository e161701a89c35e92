"""One tiny model for all tests of the server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.serving import RunningServer, Tiny, running_server, tiny_model


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    return tiny_model(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def server(tiny: Tiny) -> Iterator[RunningServer]:
    with running_server(tiny) as server:
        yield server
