"""Log-probabilities that JSON cannot hold, and ids that are no text."""

from __future__ import annotations

import json

from pipeline.serving.answers import ChatAnswer, TextAnswer, TokenNames, Usage
from pipeline.serving.reply_text import Piece, Token
from tests.support.serving import Tiny
from trainer.inference.requests import TokenLogprob


def test_special_ids_codes_and_infinite_log_probabilities_are_json(tiny: Tiny) -> None:
    tokenizer = tiny.prompts.tokenizer
    names = TokenNames(tokenizer)
    found = TokenLogprob(id=tokenizer.eos_id, logprob=-0.5, alternatives=((tokenizer.size, -float("inf")),))
    piece = Piece("", (Token(found, 0, 0),))
    value = ChatAnswer("m", names, logprobs=True).whole(piece, "stop", Usage(1, 2))
    token = value["choices"][0]["logprobs"]["content"][0]
    assert (token["token"], token["bytes"]) == ("</s>", None)
    assert token["top_logprobs"][0] == {"token": f"<{tokenizer.size}>", "logprob": -9999.0, "bytes": None}
    text = TextAnswer("m", names, logprobs=True).chunk(piece, None)
    json.dumps([value, text], allow_nan=False)
    assert value["usage"] == {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
