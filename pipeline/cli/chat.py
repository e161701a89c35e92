"""The command `chat`: talk with a trained model in the terminal, also about pictures, videos and books."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from tyro.conf import OmitArgPrefixes

from pipeline.inference.config import LocalConfig
from pipeline.inference.local_model import LocalModel
from pipeline.language_models.chat import ChatRequest, Media, Message, RequestRefused
from pipeline.text.books import BookConfig, load_book
from schemas.errors import UsageError
from schemas.printable import printable
from schemas.record_errors import record_errors
from schemas.storage.option import Address


@dataclass(frozen=True, kw_only=True)
class Chat:
    """Talk with a trained model. An empty line or Ctrl-D ends the conversation; the model sees all earlier turns.

    Pictures, videos and books belong to the first question.
    """

    model: Address
    """Output folder of `longreel train` or `longreel import-model`, or its address in a bucket."""
    image: tuple[Path, ...] = ()
    """Pictures to ask about; needs --vision."""
    video: tuple[Path, ...] = ()
    """Videos to ask about; needs --vision."""
    book: tuple[Path, ...] = ()
    """Books or texts to ask about."""
    ask: str | None = None
    """Ask this one question, print the answer, and end."""
    system: str | None = None
    """A message before the conversation that says how to answer."""
    max_tokens: int = 256
    """Largest number of tokens of an answer."""
    temperature: float = 0.0
    """Sampling temperature; 0 takes the likeliest token."""
    seed: int = 0
    """Random seed for sampling."""
    local: Annotated[LocalConfig, OmitArgPrefixes] = field(default_factory=LocalConfig)

    def __call__(self, options: tuple[str, ...]) -> None:
        """Answer one question, or talk until the input ends."""
        if (self.image or self.video) and self.local.vision is None:
            raise UsageError("pictures and videos need the VQGAN that the model was trained with: give --vision")
        if self.ask is not None and not self.ask.strip():
            raise UsageError("the question is empty: give a text to --ask")
        model = LocalModel.load(self.model, self.local)
        messages = [] if self.system is None else [Message("system", (self.system,))]
        parts = tuple(self._context())
        for question in [self.ask] if self.ask is not None else _questions():
            messages.append(Message("user", (*parts, question)))
            request = ChatRequest(
                messages=tuple(messages), max_tokens=self.max_tokens, temperature=self.temperature, seed=self.seed
            )
            try:
                answer = _printed(model.stream(request))
            except RequestRefused as e:
                if self.ask is not None:
                    raise
                print(printable(f"longreel chat: {e}"), file=sys.stderr)
                messages.pop()
                continue
            messages.append(Message("assistant", (answer,)))
            parts = ()

    def _context(self) -> Iterator[str | Media]:
        for path in self.image:
            yield Media("image", path)
        for path in self.video:
            yield Media("video", path)
        for path in self.book:
            with record_errors(str(path)):
                text = load_book(path, BookConfig()).text
            yield f"{text}\n\n"


def _questions() -> Iterator[str]:
    """Yield the lines of the terminal until an empty one."""
    while True:
        if sys.stdin.isatty():
            print("> ", end="", file=sys.stderr, flush=True)
        line = sys.stdin.readline().strip()
        if not line:
            return
        yield line


def _printed(pieces: Iterator[str]) -> str:
    """Print the pieces of an answer as they come, and return the whole."""
    whole = ""
    for piece in pieces:
        print(printable(piece, keep="\n\t"), end="", flush=True)
        whole += piece
    print()
    return whole
