"""llama.cpp in this process, through the package xllamacpp, which is not needed otherwise."""

from __future__ import annotations

import json
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray


class LlamaCpp:
    """A GGUF file, computed by one thread in float32.

    `letter` is the id of one that is text: likelihoods are missing from an answer whose token is no whole character.
    """

    def __init__(self, path: Path, *, letter: int, context: int = 1024) -> None:
        xllamacpp = pytest.importorskip("xllamacpp", reason="pip install 'longreel[reference]'")
        parameters = xllamacpp.CommonParams()
        parameters.model.path, parameters.n_ctx, parameters.n_parallel = str(path), context, 1
        parameters.cpuparams.n_threads = 1
        with socket.create_server(("127.0.0.1", 0)) as free:
            parameters.hostnames, parameters.port = ["127.0.0.1"], free.getsockname()[1]
        parameters.cache_type_k = parameters.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
        parameters.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
        self._letter, self._server = letter, xllamacpp.Server(parameters)

    @property
    def address(self) -> str:
        """Where its server answers OpenAI's interface, without /v1."""
        return str(self._server.listening_address)

    def text_after(self, prompt: str | Sequence[int], *, count: int) -> str:
        """Return the likeliest continuation of a text, or of ids."""
        return str(self._complete(prompt, n_predict=count)["text"])

    def ids_after(self, prompt: Sequence[int], *, count: int, **options: Any) -> list[int]:
        """Return the ids that follow, the likeliest ones without other `options`."""
        answer = self._complete(prompt, n_predict=count, n_probs=1, ignore_eos=True, **options)
        return [int(one["id"]) for one in answer["logprobs"]["content"]]

    def shares(self, prompt: Sequence[int], *, count: int) -> dict[int, float]:
        """Return the log-likelihoods of the `count` likeliest ids that may follow."""
        answer = self._complete(prompt, n_predict=1, n_probs=count, logit_bias=[[self._letter, 1000.0]])
        likeliest = answer["logprobs"]["content"][0]["top_logprobs"]
        return {entry["id"]: entry["logprob"] for entry in likeliest}

    def log_likelihoods(self, prompt: Sequence[int], *, ids: int) -> NDArray[np.float64]:
        """Return the log-likelihood of each of `ids` ids after a prompt."""
        found = self.shares(prompt, count=ids)
        return np.array([found[i] for i in range(ids)])

    def _complete(self, prompt: str | Sequence[int], **options: Any) -> dict[str, Any]:
        given = prompt if isinstance(prompt, str) else list(prompt)
        answer = self._server.handle_completions({"prompt": given, "temperature": 0.0, "cache_prompt": True, **options})
        values = json.loads(answer) if isinstance(answer, bytes | str) else answer
        found: dict[str, Any] = values["choices"][0]
        return found
