from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from schemas.errors import ConfigError
from tests.support.training.decoding import counting_decoder
from tests.support.training.packed_sequences import VOCABULARY
from trainer.config import MeshConfig
from trainer.inference.requests import FrameLimits, Guidance, Request
from trainer.inference.requirements import require_fit, require_length, require_valid, valid_ids
from trainer.mesh import make_mesh
from trainer.model.grammar import DocumentGrammar
from trainer.model.llama.config import debug
from trainer.model.registry import create

DECODER = counting_decoder(max_positions=600)
GRAMMAR = DocumentGrammar(vocabulary=VOCABULARY, frame_tokens=4)


def _require(request: Request, *, rows: int = 2, grammar: DocumentGrammar | None = GRAMMAR, **settings: Any) -> None:
    require_valid(request, counting_decoder(**settings), grammar, rows=rows, most_tokens=512)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"max_tokens": 510}, "the prompt has 3 tokens and 510 new ones.*cache_tokens is 512: use at most 509"),
        ({"prompt": [1] * 600}, "the prompt has 600 tokens.*use a shorter prompt"),
        ({"prompt": [1, VOCABULARY.size]}, f"in 0..{VOCABULARY.size - 1}, got {VOCABULARY.size}"),
        ({"prompt": [1, -1]}, "got -1"),
        ({"prompt": [[1, 2]]}, "lists of ids"),
        ({"guidance": Guidance(prompt=[1] * 600, scale=2.0)}, "the prompt has 600 tokens"),
    ],
)
def test_a_request_that_can_never_run_is_rejected(change: dict[str, Any], message: str) -> None:
    asked: dict[str, Any] = {"prompt": [1, 2, 3], "max_tokens": 2} | change
    with pytest.raises(ConfigError, match=message):
        _require(Request(**asked))


def test_the_longest_request_that_fits_is_accepted() -> None:
    _require(Request(prompt=[1, 2, 3], max_tokens=509))
    require_length(590, 10, DECODER, most_tokens=None)
    with pytest.raises(ConfigError, match="max_positions is 600: use at most 10 new ones"):
        require_length(590, 11, DECODER, most_tokens=None)
    assert valid_ids(np.arange(3, dtype=np.uint8), DECODER).dtype == np.int32


def test_frames_need_a_grammar_and_guidance_two_rows() -> None:
    with pytest.raises(ConfigError, match="needs an engine with a document grammar"):
        _require(Request(prompt=[1], max_tokens=1, frames=FrameLimits()), grammar=None)
    with pytest.raises(ConfigError, match="guidance takes two rows"):
        _require(Request(prompt=[1], max_tokens=1, guidance=Guidance(prompt=[1], scale=2.0)), rows=1)


@pytest.mark.slow
def test_a_model_with_softmax_by_modality_needs_the_grammar() -> None:
    with pytest.raises(ConfigError, match="by_modality.*give the request frames"):
        _require(Request(prompt=[1], max_tokens=1), softmax="by_modality")
    _require(Request(prompt=[1], max_tokens=1, frames=FrameLimits()), softmax="by_modality")
    # Whatever it has seen, all ids that may follow are of one modality: their odds come from one head.
    prompts = jnp.asarray(np.random.default_rng(0).integers(0, VOCABULARY.size, (300, 5)), jnp.int32)
    limits = jnp.full(300, 2, jnp.int32)
    allowed = np.asarray(GRAMMAR.allowed(GRAMMAR.start(prompts, least=0 * limits, most=limits)))
    text, vision = allowed[:, : VOCABULARY.text_size].any(1), allowed[:, VOCABULARY.text_size :].any(1)
    assert np.all(text != vision)
    assert text.any()
    assert vision.any()


@pytest.mark.slow
def test_a_model_a_mesh_and_a_grammar_that_do_not_fit_are_rejected() -> None:
    sizes = {"text_size": VOCABULARY.text_size, "vision_size": VOCABULARY.vision_size}
    one, two = (make_mesh(MeshConfig(fsdp=n), devices=jax.devices()[:n]) for n in (1, 2))
    model = create(debug(), **sizes, mesh=one, seed=0)
    require_fit(model, one, GRAMMAR)
    with pytest.raises(ConfigError, match="data and fsdp must be 1"):
        require_fit(model, two, None)
    other = DocumentGrammar(vocabulary=dataclasses.replace(VOCABULARY, codebook_size=12), frame_tokens=1)
    with pytest.raises(ConfigError, match="14 vision ids, the model has 37 and 13"):
        require_fit(model, None, other)
