"""The protocol of a text model: what SentencePiece and the `tokenizers` library do for a `TextTokenizer`.

A model encodes strings and says what each id decodes to. `tokenizer/text/tokenizer.py` does everything else, the same
for every model: blocks, markers, round trip, streams.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from numpy.typing import NDArray

BEGIN_VISION, END_VISION = "<vision>", "</vision>"

_OPEN, _CLOSE = tuple("<[{(｜|"), tuple(">]})｜|")


def is_marker(token: str) -> bool:
    """Return whether a token is in brackets, such as <tool_call>, <|im_end|>, [INST]."""
    return len(token) > 2 and token.startswith(_OPEN) and token.endswith(_CLOSE) and not token.isspace()


class TextModel(Protocol):
    """A model that has been loaded.

    Attributes:
        name: in messages.
        surfaces: the UTF-8 bytes that each id decodes to; b"" for control ids.
        pieces: the name of each id, such as "<s>" or "▁the".
        control: ids that no text is encoded to, by their name, such as "<s>" or "<|im_end|>".
        bytes: the id of each byte; empty if the model cannot spell a text in bytes.
        bos_id, eos_id, unk_id, pad_id: None if the model has no such id.
        prefix, suffix: the space that the model adds to a text, or "".
        adds_prefix_once: the prefix is added to the start of a chat only, not to the text after each control id.
        escaped: strings that are encoded as bytes, in addition to the markers.
        normalize: the model's normalization without its treatment of spaces; None if it has none.
        losses: the reasons why decoding does not restore every text.
    """

    name: str
    surfaces: tuple[bytes, ...]
    pieces: Sequence[str]
    control: Mapping[str, int]
    bytes: Mapping[int, int]
    bos_id: int | None
    eos_id: int | None
    unk_id: int | None
    pad_id: int | None
    prefix: str
    suffix: str
    adds_prefix_once: bool
    escaped: tuple[str, ...]
    normalize: Callable[[str], str] | None
    losses: tuple[str, ...]

    def blocks(self, chunks: Iterable[str]) -> Iterator[str]:
        """Yield the concatenated chunks in blocks that can be encoded one by one."""
        ...

    def encode(self, texts: Sequence[str]) -> list[NDArray[Any]]:
        """Return the ids [n] of each text, which is valid Unicode, without prefix and suffix."""
        ...
