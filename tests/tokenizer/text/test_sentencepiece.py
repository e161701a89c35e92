from __future__ import annotations

import argparse
import hashlib
import inspect
import io
import itertools
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sentencepiece
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.errors import ConfigError, InputError, Reason
from schemas.runs.messages import messages
from tokenizer.text.chunking import BLOCK_CHARS
from tokenizer.text.tokenizer import TextTokenizer
from tokenizer.text.training import TextTrainConfig, train_text_tokenizer

SOURCE = inspect.getsource(argparse)  # 100 kB of real text that is part of Python
TRICKY = [
    "<vision>",
    "</vision>",
    "<",
    "vision>",
    "\u2581",
    " ",
    "  ",
    "\n",
    "\r\n",
    "\t",
    "\0",
    "<s>",
    "</s>",
    "<unk>",
]
TRICKY += ["<0x41>", "e\u0301", "漢字", "👩‍👩‍👧", "\ufeff", "\ufffd", "\U0010ffff", "\u2585", "７", "the", "argument"]
texts = st.lists(st.sampled_from(TRICKY) | st.text(max_size=8), max_size=12).map("".join)
LLAMA = {"model_type": "bpe", "normalization_rule_name": "identity", "byte_fallback": True}


def train(path: Path, lines: list[str], **options: Any) -> TextTokenizer:
    """Train a model like published ones: by default with a space before the first word, as in LLaMA."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines),
        model_writer=model,
        **{"vocab_size": 1200, "hard_vocab_limit": False, "minloglevel": 2, "num_threads": 1} | options,
    )
    path.write_bytes(model.getvalue())
    return TextTokenizer.load(path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def own(folder: Path) -> TextTokenizer:
    return TextTokenizer.load(train_text_tokenizer([SOURCE], folder / "own.model", TextTrainConfig(vocab_size=2000)))


@pytest.fixture(scope="module")
def llama(folder: Path) -> TextTokenizer:
    lines = [*SOURCE.splitlines(), "a vision of <vision> <x>"] * 2
    return train(folder / "llama.model", lines, remove_extra_whitespaces=False, **LLAMA)


@pytest.fixture(scope="module", params=["own", "llama", "unigram", "squeezing", "suffix"])
def lossless(request: pytest.FixtureRequest, folder: Path, own: TextTokenizer, llama: TextTokenizer) -> TextTokenizer:
    lines = SOURCE.splitlines()
    make: dict[str, Callable[[], TextTokenizer]] = {
        "own": lambda: own,
        "llama": lambda: llama,
        "unigram": lambda: train(folder / "unigram.model", lines, **LLAMA | {"model_type": "unigram"}),
        "squeezing": lambda: train(folder / "squeezing.model", lines, remove_extra_whitespaces=True, **LLAMA),
        "suffix": lambda: train(folder / "suffix.model", lines, treat_whitespace_as_suffix=True, **LLAMA),
    }
    return make[request.param]()


@pytest.fixture(scope="module")
def nfkc(folder: Path) -> TextTokenizer:
    symbols = ["<vision>", "</vision>"]
    return train(folder / "nfkc.model", SOURCE.splitlines(), model_type="bpe", user_defined_symbols=symbols)


def positions(ids: np.ndarray, special: tuple[int, ...]) -> list[int]:
    return [i for i in range(len(ids)) if tuple(ids[i : i + len(special)]) == special]


@given(text=texts)
@settings(deadline=None, max_examples=60)
def test_decode_restores_every_text(lossless: TextTokenizer, text: str) -> None:
    ids = lossless.encode(text)
    assert ids.dtype == np.uint32
    assert lossless.decode(ids) == text
    assert lossless.is_lossless


@given(text=texts)
@settings(deadline=None, max_examples=60)
def test_no_text_produces_the_ids_of_a_marker_or_control_piece(lossless: TextTokenizer, text: str) -> None:
    ids = lossless.encode(text)
    for special in (lossless.begin_vision, lossless.end_vision, (lossless.bos_id,), (lossless.eos_id,)):
        assert positions(ids, special) == []


def test_a_marker_at_any_distance_from_a_block_boundary_is_escaped(llama: TextTokenizer, own: TextTokenizer) -> None:
    for tokenizer, before in itertools.product((llama, own), range(BLOCK_CHARS - 12, BLOCK_CHARS + 3)):
        text = "x" * before + "<vision>" + "y" * 2000
        ids = tokenizer.encode(text)
        assert tokenizer.decode(ids) == text
        assert positions(ids, tokenizer.begin_vision) == []


def test_markers_are_one_id_if_the_model_has_them_and_are_spelled_otherwise(
    own: TextTokenizer, llama: TextTokenizer
) -> None:
    assert (own.begin_vision, own.end_vision) == ((3,), (4,))
    assert len(llama.begin_vision) > 1
    assert own.decode(own.begin_vision) == llama.decode(llama.begin_vision) == "<vision>"
    assert own.decode(own.end_vision) == llama.decode(llama.end_vision) == "</vision>"


def test_ids_equal_those_of_sentencepiece(llama: TextTokenizer, folder: Path) -> None:
    plain = sentencepiece.SentencePieceProcessor(model_file=str(folder / "llama.model"))
    for text in (SOURCE, SOURCE.replace("\n", " "), "one word", " indented\n\n  text \n"):
        assert llama.encode(text).tolist() == plain.encode(text)
        assert plain.decode(llama.encode(text).tolist()) == text


@given(
    text=st.lists(texts.flatmap(lambda t: st.integers(1, 400).map(lambda n: t * n)), max_size=4).map("".join),
    cuts=st.lists(st.integers(0, 20_000), max_size=8),
)
@settings(deadline=None, max_examples=40)
def test_ids_do_not_depend_on_the_chunks_of_a_book(llama: TextTokenizer, text: str, cuts: list[int]) -> None:
    edges = sorted({0, len(text), *(min(cut, len(text)) for cut in cuts)})
    chunks = [text[a:b] for a, b in itertools.pairwise(edges)]
    parts = list(llama.encode_stream([*chunks, ""]))
    ids = np.concatenate(parts) if parts else np.empty(0, np.uint32)
    assert ids.tolist() == llama.encode(text).tolist()
    assert llama.decode(ids) == text


def test_chunks_of_single_characters_give_the_same_ids(llama: TextTokenizer) -> None:
    assert np.concatenate(list(llama.encode_stream(SOURCE))).tolist() == llama.encode(SOURCE).tolist()


def test_an_endless_stream_is_encoded_incrementally(own: TextTokenizer) -> None:
    endless = itertools.repeat("not a single line break in all of this ")
    first = list(itertools.islice(own.encode_stream(endless), 2))
    assert sum(map(len, first)) > 1000


@given(parts=st.lists(texts, max_size=4))
@settings(deadline=None, max_examples=30)
def test_encoded_parts_decode_to_their_concatenation(lossless: TextTokenizer, parts: list[str]) -> None:
    ids = lossless.encode_parts(parts)
    assert [len(i) > 0 for i in ids] == [bool(part) for part in parts]
    assert lossless.decode(np.concatenate([np.empty(0, np.uint32), *ids])) == "".join(parts)


def test_control_ids_are_skipped_and_invalid_utf8_becomes_the_replacement_character(
    own: TextTokenizer,
) -> None:
    ids = own.encode("漢x")
    assert own.decode([own.bos_id, *ids.tolist(), own.eos_id]) == "漢x"
    assert own.decode(ids[1:]) == "\ufffd\ufffdx"


@pytest.mark.parametrize("wrong", [-1, 1 << 20])
def test_ids_outside_the_vocabulary_are_rejected(own: TextTokenizer, wrong: int) -> None:
    with pytest.raises(ConfigError, match=rf"0\.\.{own.size - 1}.*{wrong}"):
        own.decode([5, wrong])


def test_an_unpaired_surrogate_is_an_input_error(own: TextTokenizer) -> None:
    with pytest.raises(InputError, match="ud83d") as caught:
        own.encode("cut \ud83d short")
    assert caught.value.reason is Reason.NOT_TEXT


def test_a_normalizing_model_is_loaded_with_one_warning(
    nfkc: TextTokenizer, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    messages.configure("", level="info", format="text")  # a command starts
    for _ in range(2):
        TextTokenizer.load(folder / "nfkc.model")
    assert not nfkc.is_lossless
    assert len(nfkc.losses) == 2
    shown = capsys.readouterr().err
    assert len(shown.splitlines()) == 1
    assert all(loss in shown for loss in nfkc.losses)
    assert nfkc.decode(nfkc.encode("ﬁve  arguments")) == "five  arguments"
    assert nfkc.encode("\x01").tolist() == nfkc.encode(" ").tolist()[:1]


@pytest.mark.parametrize("symbols", [["<vision>", "</vision>"], []])
@pytest.mark.parametrize("byte_fallback", [True, False])
def test_a_normalizing_model_produces_no_marker_from_text(
    folder: Path, symbols: list[str], byte_fallback: bool
) -> None:
    options = {"model_type": "bpe", "user_defined_symbols": symbols, "byte_fallback": byte_fallback}
    options["character_coverage"] = 1.0
    tokenizer = train(folder / "normalizing.model", SOURCE.splitlines(), **options)
    assert (len(tokenizer.begin_vision) == 1) == bool(symbols)
    for text in ("＜vision＞", "x <vision>", "＜" * 2000 + "/vision＞", "＜vision＞</ｖision>" * 300):
        for part in (text, " " + text):
            ids = tokenizer.encode(part)
            assert positions(ids, tokenizer.begin_vision) == positions(ids, tokenizer.end_vision) == []
    with pytest.raises(InputError, match="ud83d"):
        tokenizer.encode("\ud83d")


def test_a_lossless_model_loads_without_a_warning(
    own: TextTokenizer, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert TextTokenizer.load(folder / "own.model").losses == ()
    assert capsys.readouterr().err == ""


def test_the_sha256_is_that_of_the_model_file(own: TextTokenizer, folder: Path) -> None:
    assert own.sha256 == hashlib.sha256((folder / "own.model").read_bytes()).hexdigest()


def test_a_missing_bos_is_replaced_by_eos_and_a_model_without_both_is_rejected(folder: Path) -> None:
    lines, options = SOURCE.splitlines(), LLAMA | {"user_defined_symbols": ["<vision>", "</vision>"]}
    tokenizer = train(folder / "no_bos.model", lines, bos_id=-1, eos_id=1, **options)
    assert (tokenizer.bos_id, tokenizer.eos_id) == (1, 1)
    with pytest.raises(ConfigError, match="neither a bos nor an eos"):
        train(folder / "no_ends.model", lines, bos_id=-1, eos_id=-1, **options)


@pytest.mark.parametrize("byte_fallback", [True, False])
def test_a_model_without_pieces_for_a_marker_is_for_texts_alone(
    folder: Path, byte_fallback: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    options = LLAMA | {"byte_fallback": byte_fallback}
    tokenizer = train(folder / "han.model", ["漢字かな交じり文"] * 9, **options)
    assert tokenizer.begin_vision == tokenizer.end_vision == ()
    assert "is for texts alone: it has no pieces for <vision>" in capsys.readouterr().err
    ids = tokenizer.encode_parts(["漢字", "<vision>漢", "</vis", "ion>"])
    text = tokenizer.decode(np.concatenate(ids))
    assert text == ("漢字<vision>漢</vision>" if byte_fallback else "漢字 \u2047 漢 \u2047  \u2047 ")


def test_a_file_that_is_not_a_model_is_rejected_with_its_path(tmp_path: Path) -> None:
    (tmp_path / "junk.model").write_bytes(b"not a model at all")
    with pytest.raises(ConfigError, match=r"junk\.model is not a SentencePiece model"):
        TextTokenizer.load(tmp_path / "junk.model")
    with pytest.raises(ConfigError, match=r"absent\.model cannot be read: No such file"):
        TextTokenizer.load(tmp_path / "absent.model")
    with pytest.raises(ConfigError, match="has no text tokenizer"):
        TextTokenizer.load(tmp_path)


def test_a_tokenizer_cannot_be_pickled(own: TextTokenizer) -> None:
    with pytest.raises(TypeError, match="load it by its path"):
        pickle.dumps(own)


def test_many_tiny_parts_are_encoded_together_and_as_if_alone(lossless: TextTokenizer) -> None:
    parts = [f" answer {i}\n" * (i % 3) + "x" * (2000 * (i == 5)) for i in range(600)]
    found = lossless.encode_parts(parts)
    for i in (5, 6, 77, 299, 300, 301):
        np.testing.assert_array_equal(found[i], lossless.encode_parts(["\n", parts[i], "\n"])[1])
    assert lossless.decode(np.concatenate(found)) == "".join(parts)
