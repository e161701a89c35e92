"""Every test begins without servers that did not answer: the port of one can be given to the server of the next."""

from __future__ import annotations

import pytest

from pipeline.sources import bucket_files, remote


@pytest.fixture(autouse=True)
def no_server_is_down(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (bucket_files, remote):
        monkeypatch.setattr(module, "_down", {})
