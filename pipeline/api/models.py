"""Load a trained or imported model, ask it, and continue texts with it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from pipeline.inference.config import LocalConfig
from pipeline.inference.local_model import LocalModel
from pipeline.language_models.chat import ChatRequest, Media, Message


class Model:
    """A model in memory. One request is answered at a time; what earlier prompts began with is not computed again."""

    def __init__(self, model: LocalModel) -> None:
        self._model = model

    def ask(
        self,
        question: str,
        *,
        system: str | None = None,
        images: tuple[str | os.PathLike[str], ...] = (),
        videos: tuple[str | os.PathLike[str], ...] = (),
        max_tokens: int = 256,
        temperature: float = 0.0,
        seed: int = 0,
    ) -> str:
        """Return the answer to a question in the chat template of the model.

        `images` and `videos` are files, which come before the question; they need `load_model(..., vision=...)`.
        `temperature` 0 takes the likeliest token. Raises JobError if the question does not fit into the context of the
        model or media are given without `vision`, ConfigError if `max_tokens` is below 1.
        """
        media = [Media("image", Path(path)) for path in images] + [Media("video", Path(path)) for path in videos]
        before = () if system is None else (Message("system", (system,)),)
        messages = (*before, Message("user", (*media, question)))
        request = ChatRequest(messages=messages, max_tokens=max_tokens, temperature=temperature, seed=seed)
        return self._model.ask(request).text

    def complete(self, text: str, *, max_tokens: int = 256, temperature: float = 0.0, seed: int = 0) -> str:
        """Return the continuation of a text, without the text. Raises as `ask`."""
        request = ChatRequest(
            messages=(Message("user", (text,)),), max_tokens=max_tokens, temperature=temperature, seed=seed
        )
        return self._model.complete(request).text


def load_model(run: str | os.PathLike[str], **options: Any) -> Model:
    """Load the newest checkpoint of a folder that `train` or `import-model` wrote.

    `options` are those of `longreel chat`: `devices` (int), `cache_dtype` and `weight_dtype` ("float32" or "bfloat16"),
    `weights` ("params" or "ema"), `vision` (name or file of a VQGAN) and `most_frames` (int). Raises ConfigError if the
    folder is no run or has no text tokenizer, DatasetError if its checkpoint is damaged, TypeError for another option.
    """
    return Model(LocalModel.load(Path(run), LocalConfig(**options)))
