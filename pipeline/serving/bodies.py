"""The JSON of requests: the fields of OpenAI's interface that have an effect here, and what their values may be.

A field that this server does not know, or knows and cannot honor, is an error rather than ignored: the client would
take the reply for something that it is not.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from pipeline.serving.errors import ApiError
from schemas.counted import counted
from trainer.inference.requests import MOST_ALTERNATIVES

MOST_PARTS = 256  # of a message
MOST_MESSAGES = 4096
MOST_PICTURES = 16  # of a request

Body = TypeVar("Body", bound="SamplingBody")
Text = Annotated[str, Field(min_length=1, max_length=1000)]
_Zero = Annotated[float, Field(ge=0, le=0)]
_Empty = Annotated[list[Any], Field(max_length=0)] | Annotated[dict[str, Any], Field(max_length=0)]


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)


class TextPart(_Strict):
    """A text in a message."""

    type: Literal["text"]
    text: str


class MediaUrl(_Strict):
    """Where a picture or a video is."""

    url: str
    detail: Literal["auto", "low", "high"] | None = None  # has no effect: pictures have one size


class ImagePart(_Strict):
    """A picture in a message."""

    type: Literal["image_url"]
    image_url: MediaUrl


class VideoPart(_Strict):
    """A video in a message, as in vLLM's interface."""

    type: Literal["video_url"]
    video_url: MediaUrl


Part = Annotated[TextPart | ImagePart | VideoPart, Field(discriminator="type")]


class ChatMessage(_Strict):
    """A message of a chat."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str | Annotated[list[Part], Field(max_length=MOST_PARTS)]
    name: str | None = None  # has no effect

    @property
    def parts(self) -> list[TextPart | ImagePart | VideoPart]:
        """The content as a list of parts."""
        return [TextPart(type="text", text=self.content)] if isinstance(self.content, str) else self.content


class JsonSchema(_Strict):
    """A schema that the reply has to satisfy."""

    name: str | None = None
    description: str | None = None
    json_schema: dict[str, Any] = Field(alias="schema")
    strict: bool | None = None  # has no effect: a reply always satisfies the schema


class ResponseFormat(_Strict):
    """The form of the reply."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None

    @model_validator(mode="after")
    def _schema_is_given(self) -> ResponseFormat:
        if (self.type == "json_schema") != (self.json_schema is not None):
            raise ValueError("json_schema belongs to the type json_schema")
        return self


class StreamOptions(_Strict):
    """Options of a reply in pieces."""

    include_usage: bool = False
    include_obfuscation: bool | None = None  # has no effect


class SamplingBody(_Strict):
    """What all requests have in common."""

    model: str | None = None
    temperature: Annotated[float, Field(ge=0, le=100)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=-1, lt=1 << 31)] | None = None  # 0, -1: all
    min_p: Annotated[float, Field(ge=0, le=1)] | None = None
    repetition_penalty: Annotated[float, Field(gt=0, le=100)] | None = None
    seed: Annotated[int, Field(ge=-(1 << 63), lt=1 << 64)] | None = None
    user: Any = None  # has no effect


class RequestBody(SamplingBody):
    """What requests for chats and texts have in common."""

    max_tokens: Annotated[int, Field(ge=1)] | None = None
    stop: Text | Annotated[list[Text], Field(max_length=16)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    response_format: ResponseFormat | None = None

    # Accepted without an effect on the reply.
    metadata: Any = None
    store: Any = None
    service_tier: Any = None
    safety_identifier: Any = None
    prompt_cache_key: Any = None

    # Not supported: only the values that mean "without".
    n: Literal[1] | None = None
    frequency_penalty: _Zero | None = None
    presence_penalty: _Zero | None = None
    logit_bias: _Empty | None = None

    @property
    def stops(self) -> tuple[str, ...]:
        """The texts that end the reply."""
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())

    @property
    def includes_usage(self) -> bool:
        """Whether a reply in pieces ends with the counts of tokens."""
        return self.stream_options is not None and self.stream_options.include_usage


class ChatBody(RequestBody):
    """The body of /v1/chat/completions."""

    messages: Annotated[list[ChatMessage], Field(min_length=1, max_length=MOST_MESSAGES)]
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=MOST_ALTERNATIVES)] | None = None
    modalities: list[Literal["text"]] | None = None
    tools: _Empty | None = None
    functions: _Empty | None = None
    tool_choice: Literal["none", "auto"] | None = None
    function_call: Literal["none", "auto"] | None = None
    parallel_tool_calls: Any = None

    @model_validator(mode="after")
    def _counts_agree(self) -> ChatBody:
        if self.top_logprobs is not None and not self.logprobs:
            raise ValueError("top_logprobs needs logprobs: true")
        if None not in (self.max_tokens, self.max_completion_tokens):
            raise ValueError("give either max_tokens or max_completion_tokens")
        return self

    @property
    def reply_tokens(self) -> int | None:
        """The largest number of tokens of the reply."""
        return self.max_tokens if self.max_completion_tokens is None else self.max_completion_tokens

    @property
    def alternatives(self) -> int | None:
        """How many alternatives are reported with each log-probability; None: no log-probabilities."""
        return (self.top_logprobs or 0) if self.logprobs else None


class CompletionBody(RequestBody):
    """The body of /v1/completions: one text, or one list of ids."""

    prompt: str | list[int] | Annotated[list[str], Field(min_length=1, max_length=1)] | list[list[int]]
    logprobs: Annotated[int, Field(ge=0, le=MOST_ALTERNATIVES)] | None = None
    echo: Literal[False] | None = None
    best_of: Literal[1] | None = None
    suffix: Literal[""] | None = None

    @model_validator(mode="after")
    def _has_one_prompt(self) -> CompletionBody:
        if isinstance(self.prompt, list) and len(self.prompt) != 1 and not all(isinstance(i, int) for i in self.prompt):
            raise ValueError(f"prompt must be one text or one list of ids, got {len(self.prompt)}; send a request each")
        if not self.the_prompt:
            raise ValueError("prompt must not be empty")
        return self

    @property
    def the_prompt(self) -> str | list[int]:
        """The text, or its ids."""
        if isinstance(self.prompt, list) and self.prompt and not isinstance(self.prompt[0], int):
            return self.prompt[0]
        return self.prompt  # type: ignore[return-value]

    @property
    def reply_tokens(self) -> int | None:
        """The largest number of tokens of the reply; 16 if none is given, as in OpenAI's interface."""
        return 16 if self.max_tokens is None else self.max_tokens

    @property
    def alternatives(self) -> int | None:
        """How many alternatives are reported with each log-probability; None: no log-probabilities."""
        return self.logprobs


class PicturesBody(SamplingBody):
    """The body of /v1/images/generations; the fields from `frames` on are ours."""

    prompt: Annotated[str, Field(min_length=1, max_length=32_000)]
    n: Annotated[int, Field(ge=1, le=MOST_PICTURES)] = 1
    response_format: Literal["b64_json"] | None = None
    output_format: Literal["png"] | None = None
    size: Literal["auto"] | None = None  # pictures have the size of the VQGAN
    frames: Annotated[int, Field(ge=1, le=1 << 16)] = 1  # more than one: a video
    frame_rate: Annotated[float, Field(gt=0, le=240)] = 4.0
    guidance: Annotated[float, Field(ge=0, le=100)] = 1.0
    negative_prompt: Annotated[str, Field(max_length=32_000)] | None = None
    prompt_style: Literal["caption", "instruction"] = "caption"


def parse_body(data: bytes, kind: type[Body]) -> Body:
    """Return the body of a request; raises ApiError that names the first field that is wrong."""
    try:
        return kind.model_validate_json(data)
    except ValidationError as e:
        first, count = e.errors(include_url=False, include_input=False, include_context=False)[0], e.error_count()
        param = ".".join(str(key)[:100] for key in first["loc"][:8]) or None
        more = f" ({counted(count, 'problem')} in all)" if count > 1 else ""
        message = f"{param}: {first['msg']}" if param else first["msg"]
        raise ApiError(400, f"{message[:500]}{more}", param=param) from e
    except (RecursionError, ValueError) as e:  # for example a number with thousands of digits
        raise ApiError(400, f"the body is not valid: {str(e)[:200]}") from e
