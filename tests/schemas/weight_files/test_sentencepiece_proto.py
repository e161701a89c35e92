from __future__ import annotations

import io
from pathlib import Path

import pytest
import sentencepiece

from schemas.errors import ConfigError
from schemas.weight_files.sentencepiece_proto import PieceType, read_pieces, write_model
from schemas.weight_files.tokenizer_files import read_tokenizer_files
from tests.support.text_tokenizers import text_tokenizer
from tokenizer.text.tokenizer import TextTokenizer

TEXT = "Somebody walks in,  looks around and says:\n what happened here? \u00e9漢"


@pytest.mark.parametrize("kind", ["own", "llama"])
def test_a_written_model_encodes_as_the_one_that_was_read(kind: str, tmp_path: Path) -> None:
    text_tokenizer(kind, [TEXT * 20], tmp_path / "text.model")
    model = (tmp_path / "text.model").read_bytes()
    pieces = read_pieces(model)
    given = sentencepiece.SentencePieceProcessor(model_proto=model)
    assert [piece.text for piece in pieces] == [given.id_to_piece(i) for i in range(len(given))]
    assert [i for i, piece in enumerate(pieces) if piece.type == PieceType.BYTE] == [
        i for i in range(len(given)) if given.is_byte(i)
    ]
    names = {"unk": "<unk>", "bos": "<s>", "eos": "</s>", "pad": None}
    written = write_model(pieces, names=names, adds_prefix=kind == "llama")
    again = sentencepiece.SentencePieceProcessor(model_proto=written)
    assert again.encode(TEXT) == given.encode(TEXT)
    ids = ("bos_id", "eos_id", "unk_id", "pad_id")
    assert [getattr(again, i)() for i in ids] == [getattr(given, i)() for i in ids]


def test_a_user_defined_symbol_in_brackets_stays_text(tmp_path: Path) -> None:
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["a vision of <vision> </vision> <x>"] * 9),
        model_writer=model,
        model_type="bpe",
        vocab_size=300,
        hard_vocab_limit=False,
        byte_fallback=True,
        normalization_rule_name="identity",
        user_defined_symbols=["<|im_start|>", "9", "<vision>", "</vision>"],
        minloglevel=2,
    )
    (tmp_path / "chat.model").write_bytes(model.getvalue())
    ours = TextTokenizer.load(tmp_path / "chat.model")
    assert ours.control.keys() == {"<s>", "</s>", "<|im_start|>"}
    ids = ours.encode("a <|im_start|>9")
    assert ours.control["<|im_start|>"] not in ids.tolist()
    assert ours.decode(ids) == "a <|im_start|>9"
    assert read_tokenizer_files(tmp_path / "chat.model").main == model.getvalue()


_MALFORMED = {
    "length": b"\x0a",
    "end": b"\x0a\xff\x01",
    "wire type": b"\x0b",
    "number": b"\xff" * 11,
    "type": b"\x0a\x02\x18\x63",
    "score": b"\x0a\x03\x12\x01x",
    "text": b"\x0a\x03\x0a\x01\xff",
}


@pytest.mark.parametrize("name", _MALFORMED)
def test_malformed_bytes_are_an_error(name: str) -> None:
    with pytest.raises(ConfigError, match="it is not a SentencePiece model"):
        read_pieces(_MALFORMED[name])


def test_a_malformed_piece_that_sentencepiece_reads_is_an_error_with_the_name_of_the_file(tmp_path: Path) -> None:
    text_tokenizer("llama", [TEXT * 20], tmp_path / "text.model")
    with (tmp_path / "text.model").open("ab") as f:
        f.write(b"\x0a\x03\x0a\x01\xff")
    with pytest.raises(ConfigError, match=r"text\.model"):
        TextTokenizer.load(tmp_path / "text.model")
