"""Frames for a description: the prompts of LWM, guidance, several samples."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest

from pipeline.inference.text_to_video import VideoGenerator, VideoRequest
from schemas.errors import ConfigError, VocabularyMismatch
from tests.support.text_tokenizers import text_tokenizer
from tests.support.texts import story
from tests.support.training.training_dataset import VOCABULARY
from tests.support.vqgan.tiny_vqgan import TINY, tiny_weights
from tokenizer.codec import FrameCodec
from trainer.config import MeshConfig
from trainer.inference.engine import Engine, EngineConfig
from trainer.inference.requests import FrameLimits, Guidance, Request, Sampling
from trainer.mesh import make_mesh
from trainer.model.grammar import DocumentGrammar
from trainer.model.llama.config import debug
from trainer.model.registry import create

pytestmark = pytest.mark.slow

REQUEST = VideoRequest(description="a boat", frames=2, sampling=Sampling(temperature=2.0, seed=5))


@pytest.fixture(scope="module")
def generator(tmp_path_factory: pytest.TempPathFactory) -> VideoGenerator:
    tokenizer = text_tokenizer("own", [story(1, 60)], tmp_path_factory.mktemp("t") / "t.model")
    codec = FrameCodec(tiny_weights(replace(TINY, frame_size=8)), sha256=VOCABULARY.vision_sha256)
    vocabulary = replace(VOCABULARY, text_size=tokenizer.size, codebook_size=codec.codebook_size)
    mesh = make_mesh(MeshConfig(), devices=jax.devices()[:1])
    model = create(debug(), text_size=tokenizer.size, vision_size=vocabulary.vision_size, mesh=mesh, seed=0)
    grammar = DocumentGrammar(vocabulary=vocabulary, frame_tokens=16)
    engine = Engine(model, config=EngineConfig(rows=4, block=32, page=16), grammar=grammar)
    return VideoGenerator(engine, tokenizer, codec, vocabulary, context=20)


def _prompt(generator: VideoGenerator, description: str | None) -> list[int]:
    ids = [] if description is None else generator.tokenizer.encode(description).tolist()
    return [generator.vocabulary.bos_id, *ids, *generator.vocabulary.begin_vision]


def _continued(generator: VideoGenerator, before: list[int], other: list[int], scale: float) -> list[int]:
    asked = Request(
        prompt=before,
        max_tokens=17,
        sampling=REQUEST.sampling,
        frames=FrameLimits(least=1, most=1),
        guidance=Guidance(prompt=other, scale=scale),
    )
    return list(generator.engine.generate([asked])[0].ids)


@pytest.mark.parametrize(("scale", "negative"), [(1.0, None), (4.0, None), (4.0, "a storm")])
def test_the_first_frame_follows_the_prompts_and_the_next_one_follows_both_prompts_and_the_first(
    generator: VideoGenerator, scale: float, negative: str | None
) -> None:
    made = generator.codes(replace(REQUEST, guidance=scale, negative=negative))
    before, other = _prompt(generator, "a boat"), _prompt(generator, negative)
    first = _continued(generator, before, other, scale)
    assert first[-1] == generator.vocabulary.eov
    first[-1] = generator.vocabulary.eof
    second = _continued(generator, [*before, *first], [*other, *first], scale)
    expected = np.asarray([first[:-1], second[:-1]]) - generator.vocabulary.text_size
    np.testing.assert_array_equal(made, expected[None])


def test_samples_have_the_seeds_that_follow_and_equal_single_ones(generator: VideoGenerator) -> None:
    three, counted = replace(REQUEST, frames=1, samples=3), list[int]()
    made = generator.codes(three, counted.append)
    alone = [
        generator.codes(replace(three, samples=1, sampling=replace(REQUEST.sampling, seed=5 + n))) for n in range(3)
    ]
    np.testing.assert_array_equal(made, np.concatenate(alone))
    assert sum(counted) == 3 * 17
    assert not np.array_equal(made[0], made[1])


def test_frames_are_the_decoded_codes(generator: VideoGenerator, capsys: pytest.CaptureFixture[str]) -> None:
    codes = generator.codes(REQUEST)
    np.testing.assert_array_equal(generator.frames(REQUEST)[0], generator.codec.decode(codes[0]))
    printed = capsys.readouterr().err
    assert "trained on contexts of 20" in printed
    assert "34 of 34, 2 frames" in printed


def test_an_instruction_is_rendered_by_the_chat_template(generator: VideoGenerator) -> None:
    caption, instruction = (generator.codes(replace(REQUEST, frames=1, style=s)) for s in ("caption", "instruction"))
    text = "USER: Generate an image of a boat\nASSISTANT:"
    ids = [generator.vocabulary.bos_id, *generator.tokenizer.encode(text).tolist(), *generator.vocabulary.begin_vision]
    expected = _continued(generator, ids, ids, 1.0)
    np.testing.assert_array_equal(instruction[0, 0], np.asarray(expected[:-1]) - generator.vocabulary.text_size)
    assert not np.array_equal(caption, instruction)


def test_a_model_of_texts_alone_draws_nothing(generator: VideoGenerator) -> None:
    with pytest.raises(ConfigError, match="trained on texts alone"):
        replace(generator, vocabulary=replace(generator.vocabulary, begin_vision=(), end_vision=()))
    with pytest.raises(ConfigError, match="no vocabulary for vision"):
        replace(generator, vocabulary=replace(generator.vocabulary, codebook_size=0))


def test_requests_without_effect_are_refused(generator: VideoGenerator, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no effect with guidance 1"):
        replace(REQUEST, negative="a storm")
    with pytest.raises(ConfigError, match="samples must be at least 1, got 0"):
        replace(REQUEST, samples=0)
    with pytest.raises(ConfigError, match="description of the frames is empty"):
        replace(REQUEST, description=" ")
    with pytest.raises(VocabularyMismatch, match="--vision"):
        replace(generator, vocabulary=replace(generator.vocabulary, vision_sha256="3" * 64))
