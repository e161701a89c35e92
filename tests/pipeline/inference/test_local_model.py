"""A model of this machine answers: prompts from the chat template, replies in pieces, choices by likelihood."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest

from pipeline.inference.local_model import LocalModel
from pipeline.inference.media import MediaEncoder
from pipeline.inference.prompts import Prompts
from pipeline.language_models.chat import ChatRequest, Media, Message, RequestRefused, user_request
from schemas.errors import ConfigError
from tests.support.inputs.media import make_video
from tests.support.text_tokenizers import text_tokenizer
from tests.support.texts import story
from tests.support.training.training_dataset import VOCABULARY
from tests.support.vqgan.tiny_vqgan import tiny_weights
from tokenizer.codec import FrameCodec
from tokenizer.text.tokenizer import TextTokenizer
from trainer.config import MeshConfig
from trainer.inference.engine import Engine, EngineConfig
from trainer.mesh import make_mesh
from trainer.model.grammar import DocumentGrammar
from trainer.model.llama.config import debug
from trainer.model.registry import create

pytestmark = pytest.mark.slow

CONTEXT = 256


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> TextTokenizer:
    return text_tokenizer("own", [story(1, 60)], tmp_path_factory.mktemp("t") / "t.model")


@pytest.fixture(scope="module")
def media(tokenizer: TextTokenizer) -> MediaEncoder:
    codec = FrameCodec(tiny_weights(), sha256="a" * 64)
    vocabulary = replace(
        VOCABULARY, text_size=tokenizer.size, codebook_size=codec.codebook_size, vision_sha256="a" * 64
    )
    return MediaEncoder(codec, vocabulary, most_frames=2)


@pytest.fixture(scope="module")
def engine(tokenizer: TextTokenizer, media: MediaEncoder) -> Engine:
    mesh = make_mesh(MeshConfig(), devices=jax.devices()[:1])
    model = create(debug(), text_size=tokenizer.size, vision_size=media.vocabulary.vision_size, mesh=mesh, seed=0)
    return Engine(model, config=EngineConfig(block=32, page=16))


@pytest.fixture(scope="module")
def model(engine: Engine, tokenizer: TextTokenizer) -> LocalModel:
    return LocalModel(engine, Prompts(tokenizer, context=CONTEXT), name="debug")


def test_a_reply_in_pieces_is_the_whole_reply(model: LocalModel) -> None:
    for seed in range(3):
        request = replace(user_request("Who was there?", max_tokens=20), temperature=1.0, seed=seed)
        reply = model.ask(request)
        assert "".join(model.stream(request)) == reply.text
        assert reply.prompt_tokens == len(model.prompt(request))
        assert reply.finish_reason in ("stop", "length")
        assert reply.reply_tokens is not None
        assert reply.reply_tokens <= 20


def test_a_stop_text_is_not_part_of_the_reply(model: LocalModel) -> None:
    request = replace(user_request("Who?", max_tokens=30), temperature=1.0)
    whole = model.ask(request).text
    middle = whole[len(whole) // 2 : len(whole) // 2 + 2]
    assert middle
    stopped = model.ask(replace(request, stop=(middle,)))
    assert (stopped.text, stopped.finish_reason) == (whole[: whole.index(middle)], "stop")
    assert "".join(model.stream(replace(request, stop=(middle,)))) == stopped.text


def test_a_schema_is_refused(model: LocalModel) -> None:
    with pytest.raises(ConfigError, match="longreel serve"):
        model.ask(replace(user_request("Who?", max_tokens=5), json_schema="{}"))


def test_choices_have_the_likelihood_of_their_ids(model: LocalModel, engine: Engine, tokenizer: TextTokenizer) -> None:
    request = user_request("Which?", max_tokens=1)
    found = model.choose(request, ("a", "the clock"))
    ids = [int(i) for i in tokenizer.encode("the clock", adds_prefix=False)]
    assert found[1] == pytest.approx(float(np.sum(engine.score(model.prompt(request), ids))), abs=1e-5)
    assert found[0] < 0


def test_a_prompt_that_leaves_no_room_is_refused(model: LocalModel) -> None:
    with pytest.raises(RequestRefused, match=r"trained on contexts of 256"):
        model.ask(user_request(story(1, 60), max_tokens=5))


def test_media_are_between_the_marks_of_vision(
    engine: Engine, tokenizer: TextTokenizer, media: MediaEncoder, tmp_path: Path
) -> None:
    video = Media("video", make_video(tmp_path / "a.mp4", frames=3, rate=1))
    seeing = LocalModel(engine, Prompts(tokenizer, context=2000, media=media), name="debug")
    request = ChatRequest(messages=(Message("user", (video, "What happens?")),), max_tokens=4)
    ids, encoded = seeing.prompt(request), media(video, room=0).tolist()
    start = ids.index(encoded[0])
    assert ids[start : start + len(encoded)] == encoded
    assert tuple(ids[start - len(tokenizer.begin_vision) : start]) == tokenizer.begin_vision
    after = start + len(encoded)
    assert tuple(ids[after : after + len(tokenizer.end_vision)]) == tokenizer.end_vision
    assert seeing.ask(request).prompt_tokens == len(ids)
    filling = Prompts(tokenizer, context=len(ids) + 4, media=replace(media, most_frames=0))
    assert filling.chat(request.messages, reply=4) == ids
    with pytest.raises(RequestRefused, match="give --vision"):
        LocalModel(engine, Prompts(tokenizer, context=2000), name="debug").ask(request)


def test_a_model_trained_by_modality_answers_with_text(tokenizer: TextTokenizer, media: MediaEncoder) -> None:
    mesh = make_mesh(MeshConfig(), devices=jax.devices()[:1])
    config = replace(debug(), softmax="by_modality", layers=1)
    weights = create(config, text_size=tokenizer.size, vision_size=media.vocabulary.vision_size, mesh=mesh, seed=0)
    grammar = DocumentGrammar(vocabulary=media.vocabulary, frame_tokens=1)
    engine = Engine(weights, config=EngineConfig(block=32, page=16), grammar=grammar)
    model = LocalModel(engine, Prompts(tokenizer, context=CONTEXT), name="debug")
    reply = model.ask(replace(user_request("Who was there?", max_tokens=20), temperature=2.0))
    assert reply.reply_tokens is not None
    assert reply.text
    assert all(logprob < 0 for logprob in model.choose(user_request("Which?", max_tokens=1), ("a", "the clock")))
