"""The engine's thread: errors of one request reach its handler, those of the engine reach all."""

from __future__ import annotations

import asyncio
from typing import Any, NoReturn

import pytest

from pipeline.serving.worker import EngineWorker
from schemas.errors import ConfigError, JobError
from tests.support.serving import Tiny
from trainer.inference.requests import Request

pytestmark = pytest.mark.slow


async def ids_of(worker: EngineWorker, request: Request) -> list[int]:
    async with worker.generating(request) as generation:
        return [token async for progress in generation for token in progress.ids]


def test_a_request_that_is_refused_does_not_disturb_another(tiny: Tiny) -> None:
    worker = EngineWorker(tiny.engine)
    worker.start()
    good, bad = Request(prompt=[1] * 20, max_tokens=4), Request(prompt=[10**9], max_tokens=1)

    async def both() -> Any:
        return await asyncio.gather(ids_of(worker, good), ids_of(worker, bad), return_exceptions=True)

    ids, error = asyncio.run(both())
    worker.stop()
    assert len(ids) == 4
    assert isinstance(error, ConfigError)
    assert not tiny.engine.busy


def test_an_error_of_the_engine_reaches_all_requests_also_later_ones(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def step() -> NoReturn:
        raise MemoryError("no memory")

    worker = EngineWorker(tiny.another_engine())
    monkeypatch.setattr(worker.engine, "step", step)
    worker.start()

    async def all_three() -> list[object]:
        request = Request(prompt=[1] * 20, max_tokens=4)
        first = await asyncio.gather(*(ids_of(worker, request) for _ in range(2)), return_exceptions=True)
        return [*first, *await asyncio.gather(ids_of(worker, request), return_exceptions=True)]

    found = asyncio.run(asyncio.wait_for(all_three(), 20))
    assert all(isinstance(error, JobError) and "MemoryError" in str(error) for error in found)
    worker.stop()
    assert "no memory" in caplog.text
