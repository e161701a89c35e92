from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer

from schemas.errors import ConfigError
from tests.support.tokenizer_json import save, tokenizer_json, with_added
from tokenizer.text.tokenizer import TextTokenizer

CORPUS = ["The camera waits at the door; somebody walks in, looks around and says: what happened here?\n" * 3]
CORPUS += ["a vision <vision> </vision>"]


def trained(kind: str = "gpt2") -> Tokenizer:
    return tokenizer_json(kind, CORPUS, size=600)


def edited(folder: Path, edit: Callable[[dict[str, Any]], None], kind: str = "gpt2") -> Path:
    """Write a tokenizer.json after an edit."""
    path = save(trained(kind), folder) / "tokenizer.json"
    values = json.loads(path.read_text())
    edit(values)
    path.write_text(json.dumps(values))
    return path


def test_names_of_special_tokens_stay_text_and_other_added_words_are_ids_as_published(tmp_path: Path) -> None:
    library = with_added(trained(), ["<think>", "[/INST]"], special=False)
    with_added(library, ["   ", "antidisestablishment"], special=False)
    ours = TextTokenizer.load(save(library, tmp_path))
    assert ours.control.keys() >= {"<think>", "[/INST]", "<|im_end|>"}
    for text in ("a <think> [/INST] <|im_end|> b", "x   y antidisestablishment"):
        ids = ours.encode(text)
        assert ours.decode(ids) == text
        assert not set(ids.tolist()) & set(ours.control.values())
    assert ours.encode("x   y").tolist() == library.encode("x   y", add_special_tokens=False).ids
    assert ours.decode([ours.control["<think>"]]) == "<think>"


def test_a_special_token_that_merges_would_build_stays_out_of_reach(tmp_path: Path) -> None:
    library = trained()
    word = library.encode("camera").tokens[0]
    ours = TextTokenizer.load(save(with_added(library, [word], special=True), tmp_path))
    assert ours.control[word] not in ours.encode(f"{word} camera a{word}").tolist()
    assert ours.decode(ours.encode(f"{word} camera a{word}")) == f"{word} camera a{word}"


def test_ids_beyond_the_model_and_ids_without_a_token_are_kept(tmp_path: Path) -> None:
    def add(values: dict[str, Any]) -> None:
        token = {"id": 70_000, "content": "<|late|>", "special": True}
        values["added_tokens"].append(token | dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False))

    ours = TextTokenizer.load(edited(tmp_path, add))
    assert ours.size == 70_001
    assert ours.control["<|late|>"] == 70_000
    assert ours.decode([650, 70_000]) == ""


def test_a_prefix_is_added_once_and_removed(tmp_path: Path) -> None:
    def add(values: dict[str, Any]) -> None:
        values["pre_tokenizer"]["add_prefix_space"] = True

    path = edited(tmp_path, add)
    ours, library = TextTokenizer.load(path), Tokenizer.from_file(str(path))
    assert ours.encode("the door").tolist() == library.encode("the door").ids
    assert ours.decode(ours.encode(" the door")) == " the door"
    assert ours.encode("the door").tolist() != ours.encode("the door", adds_prefix=False).tolist()


def test_bytes_without_a_token_are_reported(tmp_path: Path) -> None:
    def drop(values: dict[str, Any]) -> None:
        values["model"]["vocab"].pop("ñ")  # GPT-2's character for the byte 0xF1

    ours = TextTokenizer.load(edited(tmp_path, drop))
    assert "no token for some bytes (0xF1), so they are dropped" in ours.losses[0]


def test_a_file_without_configuration_takes_bos_and_eos_from_known_names(tmp_path: Path) -> None:
    folder = save(trained(), tmp_path)
    (folder / "tokenizer_config.json").unlink()
    ours = TextTokenizer.load(folder)
    assert (ours.bos_id, ours.eos_id) == (0, 0)  # <|endoftext|>, for both


def _sequence(values: dict[str, Any], depth: int) -> None:
    for _ in range(depth):
        values["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [values["pre_tokenizer"]]}


def _set(*path: str, to: Any) -> Callable[[dict[str, Any]], None]:
    def edit(values: dict[str, Any]) -> None:
        for key in path[:-1]:
            values = values[key]
        values[path[-1]] = to

    return edit


def _split(pattern: str, behavior: str = "Isolated") -> dict[str, Any]:
    part = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": behavior, "invert": False}
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    return {"type": "Sequence", "pretokenizers": [part, byte_level]}


HOSTILE = {
    "a model of another type": (_set("model", "type", to="Unigram"), "Unigram"),
    "no model": (lambda v: v.pop("model"), "it has no 'model'"),
    "a model that is a list": (_set("model", to=[]), "not a valid tokenizer.json"),
    "no tokens": (_set("model", "vocab", to={}), "not supported"),
    "an id that is text": (_set("model", "vocab", "a", to="7"), "ids must lie in"),
    "an id that is huge": (_set("model", "vocab", "a", to=1 << 40), "ids must lie in"),
    "a negative id": (_set("model", "vocab", "a", to=-1), "ids must lie in"),
    "an id twice": (_set("model", "vocab", "a", to=5), "two tokens have the same id"),
    "a merge of unknown tokens": (_set("model", "merges", to=[["no", "pe"]]), "not supported"),
    "a merge that is a number": (_set("model", "merges", to=[7]), "not a valid tokenizer.json"),
    "a merge of three": (_set("model", "merges", to=["a b c"]), "not a valid|not supported"),
    "dropout": (_set("model", "dropout", to=0.5), "dropout=0.5"),
    "suffixes of words": (_set("model", "end_of_word_suffix", to="</w>"), "end_of_word_suffix"),
    "a normalizer that drops text": (_set("normalizer", to={"type": "Lowercase"}), "Lowercase"),
    "a normalizer that expands text": (
        _set("normalizer", to={"type": "Replace", "pattern": {"String": "a"}, "content": "a" * 99}),
        "replaces or drops text",
    ),
    "a pre-tokenizer that drops text": (_set("pre_tokenizer", to={"type": "Whitespace"}), "neither byte-level"),
    "a split that drops text": (_set("pre_tokenizer", to=_split(" ", "Removed")), "drops text"),
    "deep sequences": (lambda v: _sequence(v, 40), "too many parts"),
    "a long pattern": (_set("pre_tokenizer", to=_split("a|" * 9000)), "9000|18,000"),
    "an invalid pattern": (_set("pre_tokenizer", to=_split("(")), "not supported"),
    "an exponential pattern": (_set("pre_tokenizer", to=_split("(a+)+[^a\x7f]")), "not supported"),
    "an exponential pattern of spaces": (_set("pre_tokenizer", to=_split(r"(\s|\s)*\d")), "not supported"),
    "a polynomial pattern": (_set("pre_tokenizer", to=_split("a*a*a*[^a\x7f]")), "not supported"),
    "a token without content": (_set("added_tokens", to=[{"id": 3, "content": ""}]), "no content"),
    "a token with two ids": (_set("added_tokens", to=[{"id": 3, "content": "a"}]), "has the ids"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_refused_with_the_reason(
    tmp_path: Path, name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    edit, reason = HOSTILE[name]
    path, started = edited(tmp_path, edit), time.thread_time()
    with pytest.raises(ConfigError, match=reason) as caught:
        TextTokenizer.load(path)
    assert str(path) in str(caught.value)
    assert len(str(caught.value)) < 600
    assert time.thread_time() - started < 20


JUNK = [b"{", b"[" * 100_000, b'{"a":' * 100_000, b"{}", b'{"model": {"type": "BPE"}}', b'{"\xff']


@pytest.mark.parametrize("data", JUNK)
def test_a_file_that_is_not_a_tokenizer_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "tokenizer.json").write_bytes(data)
    with pytest.raises(ConfigError, match=r"tokenizer\.json"):
        TextTokenizer.load(tmp_path / "tokenizer.json")


def test_byte_fallback_needs_all_bytes_to_be_lossless(tmp_path: Path) -> None:
    ours = TextTokenizer.load(save(trained("llama2"), tmp_path / "whole"))
    assert ours.is_lossless

    def drop(values: dict[str, Any]) -> None:
        values["model"]["vocab"].pop("<0xC3>")

    assert "no byte fallback" in TextTokenizer.load(edited(tmp_path / "less", drop, "llama2")).losses[0]
