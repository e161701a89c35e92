from __future__ import annotations

import json

from tests.support.tokenizer_json import SPECIAL, tokenizer_json, with_added
from tokenizer.text.tokenizer_json import byte_characters, read_format, surface_of

CORPUS = ["Somebody walks in, looks around and says: what happened here?\n"] * 3


def test_the_plain_model_has_no_special_tokens_and_keeps_ids() -> None:
    library = with_added(tokenizer_json("qwen2", CORPUS, size=400), ["<tool>", "   "], special=False)
    found = read_format(library.to_str().encode(), name="x")
    plain = json.loads(found.model_json)
    assert found.is_byte_level
    assert (found.normalizers, found.prefix, found.unk_token) == (("NFC",), "", None)
    assert not {*SPECIAL, "<tool>"} & plain["model"]["vocab"].keys()
    assert [token["content"] for token in plain["added_tokens"]] == ["   "]
    assert plain["model"]["vocab"]["   "] == library.token_to_id("   ")
    assert found.vocab == library.get_vocab()


def test_the_space_before_a_text_is_left_to_the_caller() -> None:
    for kind, once in (("llama2", False), ("metaspace", True)):
        found = read_format(tokenizer_json(kind, CORPUS, size=400).to_str().encode(), name="x")
        assert (found.prefix, found.adds_prefix_once, len(found.byte_tokens)) == (" ", once, 256)
        assert "Prepend" not in found.model_json
        assert surface_of(found)("▁a") == b" a"
        assert surface_of(found)("<0xC3>") == b"\xc3"


def test_each_byte_has_a_character() -> None:
    characters = byte_characters()
    assert sorted(characters.values()) == list(range(256))
    assert (characters["a"], characters["Ġ"], characters["Ċ"]) == (97, 32, 10)
