"""The tokenizer.json files of all kinds; `test_sentencepiece` has the same tests for SentencePiece models."""

from __future__ import annotations

import argparse
import inspect
import itertools
import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from schemas.errors import ConfigError, InputError, Reason
from tests.support.tokenizer_json import KINDS, SPECIAL, save, tokenizer_json
from tokenizer.text.pre_token_cuts import LONGEST_BLOCK_CHARS
from tokenizer.text.tokenizer import TextTokenizer

SOURCE = inspect.getsource(argparse)[:40_000]
TRICKY = [*SPECIAL, "<s>", "</s>", "<unk>", "<0x41>", "<vision>", "</vision>", "<", "|>", "\u2581", "  ", "\n", "\r\n"]
TRICKY += ["\t", "\0", "e\u0301", "漢字。", "👩‍👩‍👧", "\ufeff", "\U0010ffff", "'s", " the", "12345", "\u093f", "Ġ", "Ċ"]
TRICKY += ["/", "Z̸̢͎̈́a̶"]
texts = st.lists(st.sampled_from(TRICKY) | st.text(max_size=8), max_size=12).map("".join)


class Pair:
    """A tokenizer, and the same as the library `tokenizers` loads it."""

    def __init__(self, kind: str, folder: Path) -> None:
        self.library = tokenizer_json(kind, [SOURCE, "a vision of <vision> </vision> <x>"])
        self.folder = save(self.library, folder)
        self.ours = TextTokenizer.load(self.folder)


@pytest.fixture(scope="module", params=KINDS)
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return Pair(request.param, tmp_path_factory.mktemp("published"))


def is_plain(text: str, library: Tokenizer) -> bool:
    """Return whether the library encodes no part of the text as a special token."""
    names = {token.content for token in library.get_added_tokens_decoder().values()} | {"<vision>", "</vision>"}
    return not any(name in text for name in names) and "\u2581" not in text


@given(text=texts)
@settings(deadline=None, max_examples=15)
def test_decode_restores_every_text(pair: Pair, text: str) -> None:
    ids = pair.ours.encode(text)
    assert ids.dtype == np.uint32
    if pair.ours.is_lossless:
        assert pair.ours.decode(ids) == text
    else:
        assert pair.ours.decode(ids) == pair.library.normalizer.normalize_str(text)


@given(text=texts)
@settings(deadline=None, max_examples=15)
def test_ids_equal_those_of_the_library(pair: Pair, text: str) -> None:
    if is_plain(text, pair.library) and not (pair.ours.prefix and text.startswith(" ")):
        assert pair.ours.encode(text).tolist() == pair.library.encode(text, add_special_tokens=False).ids


def test_ids_of_long_texts_equal_those_of_the_library(pair: Pair) -> None:
    for text in (SOURCE, SOURCE.replace("\n", " "), "漢字かな。" * 3000, "x y\n\n" * 5000, "a" * 5000 + " 1" * 5000):
        ids = pair.ours.encode(text)
        assert ids.tolist() == pair.library.encode(text, add_special_tokens=False).ids
        assert pair.ours.decode(ids) == text


@pytest.mark.parametrize("kind", ["gpt2", "llama2"])
def test_a_tokenizer_of_bytes_alone_cannot_mark_videos_and_keeps_every_text(kind: str, tmp_path: Path) -> None:
    library = tokenizer_json(kind, ["x"], size=0)
    tokenizer = TextTokenizer.load(save(library, tmp_path))
    assert tokenizer.begin_vision == tokenizer.end_vision == ()
    for parts in (["a <vision> b</vision>"], ["<vis", "ion> in two"], [" 漢", "", "</vision>"]):
        ids = np.concatenate(tokenizer.encode_parts(parts))
        assert tokenizer.decode(ids) == "".join(parts)
        assert ids.tolist() == tokenizer.encode("".join(parts)).tolist()
    text = "x" * 70_000 + " <vision>"
    assert np.concatenate(list(tokenizer.encode_stream([text]))).tolist() == tokenizer.encode(text).tolist()


@given(text=texts)
@settings(deadline=None, max_examples=15)
def test_no_text_produces_the_ids_of_a_marker_or_special_token(pair: Pair, text: str) -> None:
    ids = pair.ours.encode(text + "".join(SPECIAL) + text)
    for special in (pair.ours.begin_vision, pair.ours.end_vision, *((i,) for i in pair.ours.control.values())):
        assert not any(tuple(ids[i : i + len(special)].tolist()) == special for i in range(len(ids)))


@given(
    text=st.lists(texts.flatmap(lambda t: st.integers(1, 600).map(lambda n: t * n)), max_size=4).map("".join),
    cuts=st.lists(st.integers(0, 200_000), max_size=8),
)
@settings(deadline=None, max_examples=8)
def test_ids_do_not_depend_on_the_chunks_of_a_book(pair: Pair, text: str, cuts: list[int]) -> None:
    edges = sorted({0, len(text), *(min(cut, len(text)) for cut in cuts)})
    parts = list(pair.ours.encode_stream([*(text[a:b] for a, b in itertools.pairwise(edges)), ""]))
    ids = np.concatenate([np.empty(0, np.uint32), *parts])
    assert ids.tolist() == pair.ours.encode(text).tolist()


def test_a_marker_at_any_distance_from_a_forced_cut_is_escaped(pair: Pair) -> None:
    for before in range(LONGEST_BLOCK_CHARS - 10, LONGEST_BLOCK_CHARS + 2, 3):
        text = "x" * before + "<vision>" + "y" * 3000
        ids = pair.ours.encode(text)
        assert pair.ours.decode(ids) == text
        marker = pair.ours.begin_vision
        assert not any(tuple(ids[i : i + len(marker)].tolist()) == marker for i in range(len(ids)))


@given(parts=st.lists(texts, max_size=4))
@settings(deadline=None, max_examples=8)
def test_encoded_parts_decode_to_their_concatenation(pair: Pair, parts: list[str]) -> None:
    ids = pair.ours.encode_parts(parts)
    assert [len(i) > 0 for i in ids] == [bool(part) for part in parts]
    if pair.ours.is_lossless:
        assert pair.ours.decode(np.concatenate([np.empty(0, np.uint32), *ids])) == "".join(parts)


def test_a_marker_that_is_divided_between_parts_stays_text(pair: Pair) -> None:
    for marker, ids in (("<vision>", pair.ours.begin_vision), ("</vision>", pair.ours.end_vision)):
        for cut, before in itertools.product(range(1, len(marker)), ("", "a ")):
            parts = [before + marker[:cut], "", marker[cut:-1], f"{marker[-1]} b{marker}"]
            found = pair.ours.encode_parts(parts)
            joined = np.concatenate(found)
            assert pair.ours.decode(joined) == "".join(parts)
            assert [len(part) > 0 for part in found] == [bool(part) for part in parts]
            assert not any(tuple(joined[i : i + len(ids)].tolist()) == ids for i in range(len(joined)))


@given(text=texts)
@settings(deadline=None, max_examples=8)
def test_byte_offsets_are_those_of_the_decoded_bytes(pair: Pair, text: str) -> None:
    ids = pair.ours.encode(text)
    offsets, whole = pair.ours.byte_offsets(ids), pair.ours.surface(ids)
    assert offsets[-1] == len(whole)
    for i in range(len(ids)):
        assert pair.ours.surface(ids[i : i + 1]) == whole[offsets[i] : offsets[i + 1]]


def test_an_unpaired_surrogate_is_an_input_error(pair: Pair) -> None:
    with pytest.raises(InputError, match="ud83d") as caught:
        pair.ours.encode("cut \ud83d short")
    assert caught.value.reason is Reason.NOT_TEXT


def test_special_tokens_come_from_the_configuration_and_are_skipped_when_decoding(pair: Pair) -> None:
    ours, is_llama = pair.ours, pair.library.token_to_id("</s>") is not None
    assert ours.eos_id == pair.library.token_to_id("</s>" if is_llama else "<|im_end|>")
    assert ours.control["<|im_start|>"] == pair.library.token_to_id("<|im_start|>")
    assert ours.decode([ours.bos_id, *ours.encode("x").tolist(), ours.eos_id]) == "x"
    with pytest.raises(ConfigError, match=rf"0\.\.{ours.size - 1}.*-1"):
        ours.decode([-1])


def test_written_files_load_as_the_same_tokenizer(pair: Pair, tmp_path: Path) -> None:
    pair.ours.files.write(tmp_path)
    again = TextTokenizer.load(tmp_path)
    assert again.files == pair.ours.files
    assert (again.sha256, again.size, again.eos_id) == (pair.ours.sha256, pair.ours.size, pair.ours.eos_id)
    assert TextTokenizer.load(tmp_path / "tokenizer.json").files == again.files


def test_a_tokenizer_cannot_be_pickled(pair: Pair) -> None:
    with pytest.raises(TypeError, match="load it by its path"):
        pickle.dumps(pair.ours)
