"""What a model, a mesh, a grammar and a request need of each other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jax.sharding import Mesh
from numpy.typing import NDArray

from schemas.errors import ConfigError
from trainer.inference.page_pool import Ids
from trainer.inference.requests import Request
from trainer.model.grammar import DocumentGrammar
from trainer.model.protocol import Decoder, Model


def require_fit(model: Model, mesh: Mesh | None, grammar: DocumentGrammar | None) -> None:
    """Raise ConfigError if the model cannot generate on `mesh`, or with `grammar`."""
    if mesh is not None:
        if mesh.shape["data"] * mesh.shape["fsdp"] > 1:
            raise ConfigError("the mesh axes data and fsdp must be 1 to generate; use tensor and sequence")
        model.config.require_mesh(mesh.shape)
    if grammar is None:
        return
    sizes = (grammar.vocabulary.text_size, grammar.vocabulary.vision_size)
    if sizes != (model.text_size, model.vision_size):
        raise ConfigError(
            f"the grammar is for {sizes[0]} text and {sizes[1]} vision ids, "
            f"the model has {model.text_size} and {model.vision_size}"
        )


def require_valid(
    request: Request, decoder: Decoder, grammar: DocumentGrammar | None, *, rows: int, most_tokens: int | None
) -> None:
    """Raise ConfigError if an engine of `rows` rows and a cache of `most_tokens` can never run the request."""
    needed = 2 if request.guidance else 1
    if needed > rows:
        raise ConfigError(f"guidance takes two rows of the batch, the engine has {rows}: set rows = 2")
    if request.frames is not None and grammar is None:
        raise ConfigError("a request with frames needs an engine with a document grammar, this one has none")
    if request.frames is None and decoder.config.softmax == "by_modality":
        raise ConfigError(
            "the model was trained with softmax by_modality, which does not predict whether text or vision comes "
            "next: give the request frames, so that the document grammar decides it"
        )
    for prompt in request.prompts:
        require_length(len(valid_ids(prompt, decoder)), request.max_tokens, decoder, most_tokens=most_tokens)


def require_length(prompt: int, new: int, decoder: Decoder, *, most_tokens: int | None) -> None:
    """Raise ConfigError if `prompt` tokens and `new` ones are more than the model, or the cache, has room for."""
    most, name = decoder.config.max_positions, "the model's max_positions is"
    if most_tokens is not None and most_tokens < most:
        most, name = most_tokens, "the engine's cache_tokens is"
    if prompt + new > most:
        advice = f"at most {most - prompt} new ones" if prompt < most else "a shorter prompt"
        raise ConfigError(
            f"the prompt has {prompt} tokens and {new} new ones are asked for, but {name} {most}: use {advice}"
        )


def valid_ids(prompt: Sequence[int] | NDArray[np.integer], decoder: Decoder) -> Ids:
    """Return the ids as an array; raises ConfigError if the model does not know one."""
    ids, size = np.asarray(prompt, np.int64), decoder.text_size + decoder.vision_size
    if ids.ndim != 1 or ids.min() < 0 or ids.max() >= size:
        worst = ids.flat[np.argmax((ids.ravel() < 0) | (ids.ravel() >= size))]
        raise ConfigError(f"prompts must be lists of ids in 0..{size - 1}, got {worst} in shape {ids.shape}")
    return ids.astype(np.int32)
