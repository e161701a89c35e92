"""From ids to the text of a reply, as they come: whole characters only, and nothing of a text that ends the reply.

Works on the bytes of the ids, so that a character or a stop text may be divided among several of them.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tokenizer.text.tokenizer import TextTokenizer
from trainer.inference.requests import TokenLogprob


@dataclass(frozen=True)
class Token:
    """An id of a reply with its log-probability.

    Attributes:
        start: the byte of the reply at which it begins.
        offset: the character there.
    """

    found: TokenLogprob
    start: int
    offset: int


@dataclass(frozen=True)
class Piece:
    """A part of a reply."""

    text: str
    tokens: tuple[Token, ...] = ()


class ReplyText:
    """The text of one reply."""

    def __init__(self, tokenizer: TextTokenizer, stops: Iterable[str], *, continues: bool) -> None:
        """`continues`: the reply continues a text; otherwise the space that the model puts before a text is removed."""
        self._surfaces = tokenizer.surfaces
        self._prefix = b"" if continues else tokenizer.prefix.encode()
        self._stops = tuple(stop.encode() for stop in stops)
        self._held, self._tokens = b"", list[Token]()
        self._sent = self._size = 0  # bytes of the reply that were returned, and that came in
        self._characters = 0
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self.stopped = False

    def add(self, ids: Sequence[int], logprobs: Sequence[TokenLogprob] = ()) -> Piece:
        """Return what is certain to be part of the reply after these ids."""
        for n, token in enumerate(ids):
            if logprobs:
                self._tokens.append(Token(logprobs[n], self._size, self._characters))
            surface = self.surface(token)
            if self._size == 0 and surface and self._prefix:
                surface, self._prefix = surface.removeprefix(self._prefix), b""
            self._size += len(surface)
            self._characters += sum(byte & 0xC0 != 0x80 for byte in surface)  # bytes that begin one
            self._held += surface
        cut = min((at for at in map(self._held.find, self._stops) if at >= 0), default=-1)
        if cut >= 0:
            self.stopped, self._held = True, self._held[:cut]
            self._size = self._sent + cut
            return self._piece(cut, is_last=True)
        return self._piece(len(self._held) - self._possible_stop(), is_last=False)

    def finish(self) -> Piece:
        """Return the rest, after the last id."""
        return self._piece(len(self._held), is_last=True)

    def surface(self, token: int) -> bytes:
        """Return the bytes of an id; none for a special token or the code of a picture."""
        return self._surfaces[token] if token < len(self._surfaces) else b""

    def _possible_stop(self) -> int:
        """Return how many of the last bytes may be the beginning of a stop text."""
        most = max(map(len, self._stops), default=1) - 1
        for size in range(min(most, len(self._held)), 0, -1):
            if any(stop.startswith(self._held[-size:]) for stop in self._stops):
                return size
        return 0

    def _piece(self, count: int, *, is_last: bool) -> Piece:
        sent, self._held = self._held[:count], self._held[count:]
        text = self._decoder.decode(sent, is_last)
        # A character that is not complete is in the decoder, and its ids come with its last byte.
        waiting = len(self._decoder.getstate()[0])
        self._sent += count
        ready = [t for t in self._tokens if is_last or t.start + len(self.surface(t.found.id)) <= self._sent - waiting]
        self._tokens = self._tokens[len(ready) :]
        if self.stopped:
            ready = [token for token in ready if token.start < self._size]
        return Piece(text, tuple(ready))
