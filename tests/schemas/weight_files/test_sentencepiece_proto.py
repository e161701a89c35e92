from __future__ import annotations

import io
from pathlib import Path

import pytest
import sentencepiece

from schemas.weight_files.sentencepiece_proto import PieceType, read_pieces, write_model
from tests.support.text_tokenizers import text_tokenizer
from tokenizer.text.files import read_tokenizer_files

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
    from tokenizer.text.tokenizer import TextTokenizer

    ours = TextTokenizer.load(tmp_path / "chat.model")
    assert ours.control.keys() == {"<s>", "</s>", "<|im_start|>"}
    ids = ours.encode("a <|im_start|>9")
    assert ours.control["<|im_start|>"] not in ids.tolist()
    assert ours.decode(ids) == "a <|im_start|>9"
    assert read_tokenizer_files(tmp_path / "chat.model").main == model.getvalue()


@pytest.mark.parametrize("data", [b"\x0a", b"\x0a\xff\x01", b"\x0b", b"\xff" * 11, b"\x0a\x02\x18\x63"])
def test_malformed_bytes_are_an_error(data: bytes) -> None:
    with pytest.raises(ValueError, match="malformed|99"):
        read_pieces(data)
