"""A tiny model with random weights behind the server, in this process."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import jax
import uvicorn

from pipeline.inference.media import MediaEncoder
from pipeline.inference.prompts import Prompts
from pipeline.serving.app import Served, make_app
from pipeline.serving.config import Access, Limits
from pipeline.serving.server import server_config
from pipeline.serving.worker import EngineWorker
from tests.support.text_tokenizers import text_tokenizer
from tests.support.texts import story
from tests.support.training.training_dataset import VOCABULARY
from tests.support.vqgan.tiny_vqgan import tiny_weights
from tokenizer.codec import FrameCodec
from trainer.config import MeshConfig
from trainer.inference.engine import Engine, EngineConfig
from trainer.mesh import make_mesh
from trainer.model.grammar import DocumentGrammar
from trainer.model.llama.config import debug
from trainer.model.protocol import Model
from trainer.model.registry import create

CONTEXT, ROWS = 400, 2
JSON = {"Content-Type": "application/json"}


@dataclass(frozen=True)
class Tiny:
    """A model that reads text and pictures, and its engine."""

    prompts: Prompts
    model: Model
    engine: Engine

    def another_engine(self) -> Engine:
        """Return an engine without requests and kept pages."""
        return Engine(self.model, config=self.engine.config, grammar=self.engine.grammar)

    def served(self) -> Served:
        """Return it for one server."""
        return Served("tiny", self.prompts, EngineWorker(self.engine))


def tiny_model(folder: Path) -> Tiny:
    """Return a model with random weights."""
    tokenizer = text_tokenizer("own", [story(1, 60)], folder / "t.model")
    codec = FrameCodec(tiny_weights(), sha256="a" * 64)
    vocabulary = replace(
        VOCABULARY, text_size=tokenizer.size, codebook_size=codec.codebook_size, vision_sha256="a" * 64
    )
    mesh = make_mesh(MeshConfig(), devices=jax.devices()[:1])
    model = create(debug(), text_size=tokenizer.size, vision_size=vocabulary.vision_size, mesh=mesh, seed=0)
    grammar = DocumentGrammar(vocabulary=vocabulary, frame_tokens=math.prod(codec.grid))
    engine = Engine(model, config=EngineConfig(rows=ROWS, block=32, page=16), grammar=grammar)
    return Tiny(
        Prompts(tokenizer, context=CONTEXT, media=MediaEncoder(codec, vocabulary, most_frames=2)), model, engine
    )


@dataclass(frozen=True)
class RunningServer:
    """A server that answers.

    Attributes:
        address: without /v1.
    """

    address: str
    port: int
    worker: EngineWorker

    def post(self, path: str, body: Any, **options: Any) -> httpx.Response:
        """Send an object, or bytes, and return the reply."""
        content = {"content": body, "headers": JSON} if isinstance(body, bytes) else {"json": body}
        return httpx.post(f"{self.address}{path}", **{"timeout": 60, **content, **options})

    def chat(self, **fields: Any) -> httpx.Response:
        """Ask a question; `fields` replace those of the request."""
        question = [{"role": "user", "content": "Who was there?"}]
        return self.post("/v1/chat/completions", {"messages": question, "max_tokens": 4, "temperature": 0, **fields})

    def in_progress(self) -> int:
        """Return how many requests run or wait."""
        lines = httpx.get(f"{self.address}/metrics").text.splitlines()
        return int(float(next(one.split()[1] for one in lines if one.startswith("longreel_requests_in_progress "))))

    def wait_until_idle(self) -> None:
        """Wait until no request is in progress, in the server and in the engine."""
        self.wait_for(lambda: not self.in_progress() and not self.worker.engine.busy)

    def wait_for(self, condition: Callable[[], bool], seconds: float = 30.0) -> None:
        """Wait until a condition holds."""
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, "the condition did not come true"
            time.sleep(0.02)


@contextmanager
def running_server(tiny: Tiny, access: Access | None = None, limits: Limits | None = None) -> Iterator[RunningServer]:
    """Serve a model at a free port while the body runs."""
    served, limits = tiny.served(), limits or Limits()
    served.worker.start()
    app = make_app(served, access or Access(), limits)
    config = server_config(app, limits, grace_s=1)
    config.port = 0
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield RunningServer(f"http://127.0.0.1:{port}", port, served.worker)
    finally:
        server.should_exit = True
        thread.join(20)
        served.worker.stop()
