"""Replies that are JSON: llguidance says after each id which ids may follow.

Cost: a schema is compiled in about a millisecond, a mask takes less; but masks are computed between two ids, so while
such a request runs, all rows of the batch are decoded one id at a time.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
from llguidance import LLMatcher, LLTokenizer
from numpy.typing import NDArray

from pipeline.serving.bodies import ResponseFormat
from pipeline.serving.errors import ApiError
from tokenizer.text.chat.templates import turn_ends
from tokenizer.text.tokenizer import TextTokenizer

_ANY_OBJECT = {"type": "object"}
# White space is fixed: a small model that may choose it writes nothing else for a long time.
_SPACING = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}


class JsonGrammars:
    """Makes the masks of schemas for one tokenizer."""

    def __init__(self, tokenizer: TextTokenizer, *, size: int) -> None:
        """`size` is the number of ids of the model, of which those of the tokenizer are the first."""
        self.size, self._ends = size, list(turn_ends(tokenizer).ids)
        self._tokenizer = LLTokenizer(_Tokens(tokenizer), eos_token=self._ends)  # type: ignore[arg-type]

    def allowed(self, form: ResponseFormat | None) -> AllowedJson | None:
        """Return the masks of a reply of this form; None for text. Raises ApiError for a schema that is not valid."""
        if form is None or form.type == "text":
            return None
        schema = _ANY_OBJECT if form.json_schema is None else form.json_schema.json_schema
        try:
            grammar = LLMatcher.grammar_from_json_schema(json.dumps(schema), overrides=_SPACING)  # type: ignore[arg-type]
        except (ValueError, RecursionError) as e:
            raise _invalid(str(e)) from e
        matcher = LLMatcher(self._tokenizer, grammar, log_level=0)
        if matcher.is_error():
            raise _invalid(matcher.get_error())
        return AllowedJson(matcher, ends=self._ends, size=self.size)


class AllowedJson:
    """The ids that may follow in one reply; called by the engine's thread with the ids so far."""

    def __init__(self, matcher: LLMatcher, *, ends: list[int], size: int) -> None:
        self._matcher, self._ends, self._size, self._seen = matcher, ends, size, 0
        self.error: str | None = None

    def __call__(self, ids: Sequence[int]) -> NDArray[np.bool_]:
        """Return the mask of the ids that may follow, bool [V]."""
        self._matcher.consume_tokens(list(ids[self._seen :]))
        self._seen = len(ids)
        mask = np.zeros(self._size, np.bool_)
        bits = np.frombuffer(self._matcher.compute_bitmask(), np.uint8)
        found = np.unpackbits(bits, bitorder="little")[: self._size].astype(np.bool_)
        mask[: len(found)] = found
        if self._matcher.is_error():
            self.error = self._matcher.get_error().partition("\n")[0]
        if self.error or self._matcher.is_stopped() or not mask.any():
            mask[:] = False
            mask[self._ends] = True
        return mask


class _Tokens:
    """A tokenizer as llguidance reads it: the bytes of each id, and a function from text to ids."""

    is_tokenizer_wrapper = True

    def __init__(self, tokenizer: TextTokenizer) -> None:
        names = {token: name for name, token in tokenizer.control.items()}
        self._tokenizer = tokenizer
        self.tokens = [
            surface or names.get(token, f"<{token}>").encode() for token, surface in enumerate(tokenizer.surfaces)
        ]
        self.special_token_ids = sorted({*names, *(i for i, one in enumerate(tokenizer.surfaces) if not one)})
        self.eos_token_id, self.bos_token_id = tokenizer.eos_id, tokenizer.bos_id

    def __call__(self, text: str | bytes) -> list[int]:
        plain = text if isinstance(text, str) else text.decode("utf-8", "replace")
        return [int(token) for token in self._tokenizer.encode(plain, adds_prefix=False)]


def _invalid(reason: str) -> ApiError:
    short = reason.partition("\n")[0][:300]
    return ApiError(400, f"the schema of response_format is not supported: {short}", param="response_format")
