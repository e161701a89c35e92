"""A model behind a server with OpenAI's chat interface: vLLM, llama.cpp, `longreel serve`, and others.

Media are sent in the request as `data:` URLs. The API key is read from an environment variable when a request is sent;
it is not stored, logged, or part of a name.
"""

from __future__ import annotations

import base64
import json
import mimetypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from urllib.parse import urlsplit

import openai
from openai.types.chat import ChatCompletion

from pipeline.language_models.chat import ChatRequest, Media, Message, Reply, RequestRefused
from schemas.errors import ConfigError, JobError
from schemas.printable import printable

_REFUSED = (400, 404, 413, 422)
_MOST_LOGPROBS = 20  # that servers with this interface return


@dataclass(frozen=True, kw_only=True)
class EndpointConfig:
    """How a server with OpenAI's interface is asked."""

    served_model: str | None = None
    """The model to ask. Default: the only one that the server has."""
    api_key_variable: str = "OPENAI_API_KEY"
    """Environment variable with the API key, for servers that ask for one."""
    timeout_s: float = 600.0
    """Seconds to wait for a reply."""
    retries: int = 4
    """How often a request is repeated that fails for a reason that may pass (429, 5xx, a lost connection)."""

    def __post_init__(self) -> None:
        if not self.timeout_s > 0 or self.retries < 0:
            raise ConfigError("timeout_s must be above 0 and retries at least 0")


class Endpoint:
    """A `ChatModel` behind a server at an address such as http://127.0.0.1:8080/v1"""

    def __init__(self, address: str, config: EndpointConfig | None = None) -> None:
        """Raises ConfigError for an address that is none, or that has credentials in it."""
        config = config or EndpointConfig()
        _require_address(address, config)
        self._address, self._config = address, config
        self._client = openai.OpenAI(
            base_url=address,
            api_key=os.environ.get(config.api_key_variable) or "none",
            timeout=config.timeout_s,
            max_retries=config.retries,
            # A redirect would send the prompt to a server that the user has not named.
            http_client=openai.DefaultHttpxClient(follow_redirects=False),
        )

    @cached_property
    def model(self) -> str:
        """The name of the model on the server. Raises JobError if it has to be chosen."""
        if self._config.served_model is not None:
            return self._config.served_model
        with self._errors():
            names = [model.id for model in self._client.models.list()]
        if len(names) != 1:
            known = ", ".join(map(printable, names)) or "none"
            raise JobError(f"{self._address} serves {len(names)} models ({known}); choose one with --served-model")
        return names[0]

    @property
    def name(self) -> str:
        """The model, and the server's address."""
        return f"{self.model} at {self._address}"

    def ask(self, request: ChatRequest) -> Reply:
        """Return the reply; see `ChatModel.ask`."""
        found = self._complete(request)
        usage, choice = found.usage, found.choices[0]
        return Reply(
            text=_encodable(choice.message.content or ""),
            finish_reason=choice.finish_reason,
            prompt_tokens=usage.prompt_tokens if usage else None,
            reply_tokens=usage.completion_tokens if usage else None,
        )

    def choose(self, request: ChatRequest, choices: tuple[str, ...]) -> tuple[float, ...]:
        """Return the log-probability of each choice as the first token of the reply; see `ChatModel.choose`.

        The likelier of a choice with and without a space before it counts. Raises JobError if the server returns no
        log-probabilities.
        """
        logprobs = self._complete(request, max_tokens=1, logprobs=True, top_logprobs=_MOST_LOGPROBS).choices[0].logprobs
        if logprobs is None or not logprobs.content:
            raise JobError(f"{self._address} returns no log-probabilities, which multiple choice needs")
        known: dict[str, float] = {}
        for token in logprobs.content[0].top_logprobs:
            text = token.token.strip()
            known[text] = max(token.logprob, known.get(text, -float("inf")))
        return tuple(known.get(choice, -float("inf")) for choice in choices)

    def _complete(self, request: ChatRequest, **options: Any) -> Any:
        values: dict[str, Any] = {
            "max_tokens": request.max_tokens,
            "temperature": request.temperature,
            "seed": request.seed,
        }
        values |= {"stop": list(request.stop)} if request.stop else {}
        if request.json_schema is not None:
            form = {"name": "reply", "strict": True, "schema": json.loads(request.json_schema)}
            values["response_format"] = {"type": "json_schema", "json_schema": form}
        messages: Any = [_message(message) for message in request.messages]
        with self._errors():
            found = self._client.chat.completions.create(model=self.model, messages=messages, **values | options)
        if not isinstance(found, ChatCompletion) or not found.choices or not found.choices[0].message:
            raise JobError(f"{self._address} returned no reply; is it a server with OpenAI's interface?")
        return found

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Raise what goes wrong as errors of Longreel."""
        where = self._address
        try:
            yield
        except openai.APIStatusError as e:
            reason = printable(f"{where} answers {e.status_code}: {e.message[:500]}")
            if e.status_code in _REFUSED:
                raise RequestRefused(reason) from e
            raise JobError(reason) from e
        except openai.APIConnectionError as e:
            raise JobError(
                printable(f"{where} cannot be reached ({e.__cause__ or e}); what was answered is kept, run again")
            ) from e
        except (openai.OpenAIError, ValueError) as e:  # a reply that is not of this interface
            raise JobError(printable(f"{where} does not answer like a server with OpenAI's interface: {e}")) from e


def _encodable(text: str) -> str:
    """Return a text without halves of surrogate pairs, which JSON can contain, and no file."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _require_address(address: str, config: EndpointConfig) -> None:
    parts = urlsplit(address)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError("the endpoint must be an address such as http://127.0.0.1:8080/v1")
    if parts.username or parts.password:
        raise ConfigError(f"the endpoint must not contain credentials; set the variable {config.api_key_variable}")


def _message(message: Message) -> dict[str, Any]:
    if all(isinstance(part, str) for part in message.parts):
        return {"role": message.role, "content": message.text}
    return {"role": message.role, "content": [_part(part) for part in message.parts]}


def _part(part: str | Media) -> dict[str, Any]:
    if isinstance(part, str):
        return {"type": "text", "text": part}
    kind = mimetypes.guess_type(part.path.name)[0] or {"image": "image/png", "video": "video/mp4"}[part.kind]
    data = base64.b64encode(part.path.read_bytes()).decode()
    name = f"{part.kind}_url"
    return {"type": name, name: {"url": f"data:{kind};base64,{data}"}}
