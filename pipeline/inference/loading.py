"""Loads the model of a run into an engine, and what makes its prompts."""

from __future__ import annotations

import math
from pathlib import Path

from pipeline.inference.config import LocalConfig
from pipeline.inference.media import MediaEncoder
from pipeline.inference.prompts import Prompts
from schemas.dataset_files import TEXT_TOKENIZER
from schemas.errors import ConfigError
from schemas.runs.compilation_cache import use_compilation_cache
from schemas.runs.messages import messages
from schemas.storage.location import Location, located
from tokenizer.codec import FrameCodec
from tokenizer.text.chat.templates import use_template
from tokenizer.text.tokenizer import TextTokenizer
from trainer.config import MeshConfig, Weights
from trainer.cpu_devices import use_cpu_devices
from trainer.inference.engine import Engine, EngineConfig
from trainer.inference.requests import FrameLimits
from trainer.mesh import make_mesh
from trainer.model.grammar import DocumentGrammar
from trainer.run.copies.fetched import local_run
from trainer.run.description import Description
from trainer.run.state import load_model


def load_engine(
    run: Location | Path,
    config: EngineConfig,
    *,
    devices: int | None = None,
    tensor: int = 1,
    frame_tokens: int | None = None,
    weights: Weights = "params",
) -> tuple[Engine, Description]:
    """Return an engine with the newest checkpoint of a run, and the description of the run.

    `devices` is a number of virtual CPU devices; by default the first accelerator or one CPU device is used. `tensor`
    of them split attention heads, the others the cache. `frame_tokens` is the number of codes of a frame, for requests
    with the document grammar; it does not matter for those of text, which have none. `weights` is params or ema, the
    moving average. Raises ConfigError if `run` is no run or has no moving average, DatasetError if its checkpoint is
    damaged.
    """
    import jax

    use_cpu_devices(devices)
    use_compilation_cache()
    used = jax.local_devices()[: devices or 1]
    mesh = make_mesh(MeshConfig(tensor=tensor), devices=used)
    model, description = load_model(local_run(located(run)), mesh=mesh, weights=weights)
    grammar = None
    if frame_tokens is not None and description.vocabulary.vision_size:
        grammar = DocumentGrammar(vocabulary=description.vocabulary, frame_tokens=frame_tokens)
    messages.info(
        "the model is compiled for the first request; on a CPU this takes up to a minute the first time",
        event="compiling",
    )
    return Engine(model, config=config, mesh=mesh if len(used) > 1 else None, grammar=grammar), description


def text_only(engine: Engine) -> FrameLimits | None:
    """Return the limits of a reply that is text, for `Request.frames`: None if the model has no other ids."""
    return None if engine.grammar is None else FrameLimits()


def load_tokenizer(run: Location | Path) -> TextTokenizer:
    """Return the text tokenizer of a run. Raises ConfigError if it has none."""
    place = local_run(located(run)) / TEXT_TOKENIZER
    if not place.parent.is_dir():
        raise ConfigError(
            f"{place.parent} is not a folder: give the output folder of `longreel train` or `longreel import-model`"
        )
    if not place.is_dir():
        raise ConfigError(f"{place} is missing: runs have the text tokenizer of their dataset there")
    return TextTokenizer.load(place)


def load_chat(run: Location | Path, config: LocalConfig, engine_config: EngineConfig) -> tuple[Engine, Prompts]:
    """Return an engine with the newest checkpoint of a run, and what makes the prompts for its model.

    Raises ConfigError if it is no run, has no text tokenizer, or the chat template does not exist, DatasetError if its
    checkpoint is damaged.
    """
    run = local_run(located(run))
    tokenizer = load_tokenizer(run)
    use_cpu_devices(config.devices)  # before the VQGAN starts JAX
    codec = None if config.vision is None else FrameCodec.load(config.vision)
    engine, description = load_engine(
        run,
        engine_config,
        devices=config.devices,
        weights=config.weights,
        frame_tokens=1 if codec is None else math.prod(codec.grid),
    )
    media = None
    if codec is not None:
        media = MediaEncoder(codec, description.vocabulary, most_frames=config.most_frames)
    if config.chat_template is not None:
        use_template(tokenizer, config.chat_template)
    return engine, Prompts(tokenizer, context=description.context_length, media=media)
