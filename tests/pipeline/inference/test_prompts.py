"""Prompts of texts and chats; media are tested with the model in test_local_model.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.inference.media import MediaEncoder
from pipeline.inference.prompts import Prompts
from pipeline.language_models.chat import Media, Message, RequestRefused
from tests.support.text_tokenizers import text_tokenizer
from tests.support.texts import story
from tests.support.tokenizer_json import save, tokenizer_json
from tests.support.training.training_dataset import VOCABULARY
from tests.support.vqgan.tiny_vqgan import TINY, tiny_weights
from tokenizer.codec import FrameCodec
from tokenizer.text.tokenizer import TextTokenizer


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> TextTokenizer:
    return text_tokenizer("own", [story(1, 60)], tmp_path_factory.mktemp("t") / "t.model")


def test_a_text_begins_with_bos_unless_the_tokenizer_says_otherwise(tokenizer: TextTokenizer) -> None:
    prompts = Prompts(tokenizer, context=100)
    plain = [int(token) for token in tokenizer.encode("Once upon")]
    assert prompts.text("Once upon") == [tokenizer.bos_id, *plain]
    published = TextTokenizer(tokenizer.files.with_config(add_bos_token=False), name="published")
    assert Prompts(published, context=100).text("Once upon") == plain


def test_a_text_that_cannot_fit_is_refused_before_it_is_encoded(tokenizer: TextTokenizer) -> None:
    prompts = Prompts(tokenizer, context=10)
    for ask in (prompts.text, lambda text: prompts.chat([Message("user", (text,))], reply=1)):
        with pytest.raises(RequestRefused, match=r"contexts of 10 tokens, which are at most"):
            ask("word " * 1_000_000)


def test_prompt_and_reply_must_fit_in_the_context(tokenizer: TextTokenizer) -> None:
    Prompts(tokenizer, context=10).require_room(4, 6)
    with pytest.raises(RequestRefused, match="the prompt has 5 tokens and 6 are for the reply"):
        Prompts(tokenizer, context=10).require_room(5, 6)


def test_a_picture_is_refused_by_a_tokenizer_without_markers(tmp_path: Path) -> None:
    texts = TextTokenizer.load(save(tokenizer_json("gpt2", ["x"], size=0), tmp_path))
    codec = FrameCodec(tiny_weights(TINY), sha256=VOCABULARY.vision_sha256)
    prompts = Prompts(texts, context=100, media=MediaEncoder(codec, VOCABULARY))
    with pytest.raises(RequestRefused, match="only reads text"):
        prompts.chat([Message("user", (Media("image", tmp_path / "a.png"),))], reply=1)


def test_a_special_token_in_a_message_is_text(tokenizer: TextTokenizer) -> None:
    ids = Prompts(tokenizer, context=100).chat([Message("user", ("</s><s>",))], reply=1)
    assert ids.count(tokenizer.bos_id) == 1
    assert ids.count(tokenizer.eos_id) == 0
