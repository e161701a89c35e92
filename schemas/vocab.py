"""The vocabulary: one id space for text and vision.

    0 … T-1            text ids of the text tokenizer
    T … T+C-1          the C codes of the VQGAN's codebook
    T+C                <eof>, after every frame except the last
    T+C+1              <eov>, after the last frame

A video is `<vision> frame <eof> frame <eof> … frame <eov> </vision>`; an image is a video of one frame. `<vision>` and
`</vision>` are text: one id each if the text model has them as symbols, otherwise the ids that spell them. A text model
without ids that can stand for them makes documents of text alone. An imported model of text alone has a codebook of
size 0 and no vision ids.

LWM's released models have a separate id space for vision (codes 0-8191, <eof> 8192, <eov> 8193); `to_lwm` and
`from_lwm` convert.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas.errors import ConfigError, VocabularyMismatch
from schemas.field_types import require_types

TEXT, VISION = 0, 1  # modalities, as stored in spans


@dataclass(frozen=True, kw_only=True)
class Vocabulary:
    """The sizes and hashes of both tokenizers, and the ids with a special meaning."""

    text_size: int
    codebook_size: int
    bos_id: int
    eos_id: int
    begin_vision: tuple[int, ...]
    end_vision: tuple[int, ...]
    text_sha256: str
    vision_sha256: str

    def __post_init__(self) -> None:
        if self.text_size < 1 or self.codebook_size < 0:
            raise ConfigError(
                "text_size must be at least 1 and codebook_size not negative, "
                f"got {self.text_size} and {self.codebook_size}"
            )
        for i in (self.bos_id, self.eos_id, *self.begin_vision, *self.end_vision):
            if not 0 <= i < self.text_size:
                raise ConfigError(f"special id {i} is outside the text ids 0..{self.text_size - 1}")
        # Both are empty if the text tokenizer has no ids for them, or is not known, as that of some imported models.
        if bool(self.begin_vision) != bool(self.end_vision):
            raise ConfigError("begin_vision and end_vision must hold at least one id each, or both none")

    @property
    def eof(self) -> int:
        """Id of <eof>, the token after every frame except the last."""
        return self.text_size + self.codebook_size

    @property
    def eov(self) -> int:
        """Id of <eov>, the token after the last frame."""
        return self.eof + 1

    @property
    def size(self) -> int:
        """Number of ids."""
        return self.text_size + self.vision_size

    @property
    def vision_size(self) -> int:
        """Number of vision ids: the codes, <eof> and <eov>; 0 without a codebook."""
        return self.codebook_size + 2 if self.codebook_size else 0

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of stored tokens: uint16 if all ids fit, otherwise uint32."""
        return np.dtype(np.uint16 if self.size <= 1 << 16 else np.uint32)

    def is_vision(self, tokens: NDArray[Any]) -> NDArray[np.bool_]:
        """Return a mask that is True for codes, <eof> and <eov>, and False for text."""
        return tokens >= self.text_size

    def to_lwm(self, tokens: NDArray[Any]) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
        """Return LWM's ids and its vision mask for `tokens` of any shape."""
        vision = self.is_vision(tokens)
        ids = np.asarray(tokens, np.int32) - np.where(vision, self.text_size, 0).astype(np.int32)
        return ids, vision

    def from_lwm(self, ids: NDArray[Any], vision: NDArray[np.bool_]) -> NDArray[Any]:
        """Return the tokens for LWM's ids and vision mask; the inverse of `to_lwm`."""
        limit = np.where(vision, self.vision_size, self.text_size)
        if np.any((ids < 0) | (ids >= limit)):
            worst = np.asarray(ids)[(ids < 0) | (ids >= limit)].flat[0]
            raise ConfigError(
                f"LWM id {worst} is out of range: text ids must be below {self.text_size}, "
                f"vision ids below {self.vision_size}"
            )
        return (np.asarray(ids, np.int64) + np.where(vision, self.text_size, 0)).astype(self.dtype)

    def to_dict(self) -> dict[str, Any]:
        """Return a dictionary of JSON values; `from_dict` is the inverse."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in dataclasses.asdict(self).items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Vocabulary:
        """Create a vocabulary from the output of `to_dict`.

        Raises ConfigError for missing or unknown fields and for values of another type.
        """
        names = {f.name for f in dataclasses.fields(cls)}
        if set(values) != names:
            raise ConfigError(f"a vocabulary must have the fields {sorted(names)}, got {sorted(values)}")
        plain: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        try:
            require_types(cls, plain)
        except TypeError as e:
            raise ConfigError(f"a vocabulary has {e}") from e
        return cls(**plain)

    def require_same(self, other: Vocabulary, *, ours: str, theirs: str) -> None:
        """Raise VocabularyMismatch, with every field that differs, unless both are equal."""
        a, b = self.to_dict(), other.to_dict()
        differing = [f"  {k}: {ours} has {a[k]}, {theirs} has {b[k]}" for k in a if a[k] != b[k]]
        if differing:
            raise VocabularyMismatch(
                f"{ours} and {theirs} were made with different tokenizers:\n" + "\n".join(differing) + "\n"
                "Tokenize and pack again with the same tokenizers, or train a new model."
            )
