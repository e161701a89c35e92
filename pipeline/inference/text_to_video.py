"""Pictures and videos from a description, as in LWM (arXiv 2402.08268).

The first frame is generated for the prompt of a picture. The prompt of a video follows, with the first frame, and the
other frames are generated after it. With guidance, a second prompt without the description runs next to each of them,
and both take the same ids.

Axes: N samples, T frames, P codes of a frame.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from schemas.counted import counted
from schemas.errors import ConfigError
from schemas.runs.progress import TrainingProgress
from schemas.vocab import Vocabulary
from tokenizer.codec import FrameCodec
from tokenizer.text.chat.render import render_chat
from tokenizer.text.tokenizer import TextTokenizer
from trainer.inference.engine import Engine
from trainer.inference.requests import FrameLimits, Guidance, Request, Sampling

PromptStyle = Literal["caption", "instruction"]
Ids = NDArray[np.int64]
_ALL_SEEDS = 1 << 64


@dataclass(frozen=True, kw_only=True)
class VideoRequest:
    """What is to be generated; one frame is a picture."""

    description: str
    frames: int = 1
    samples: int = 1
    guidance: float = 1.0  # 1: none
    negative: str | None = None  # the description that guidance leads away from; None: the prompt without one
    style: PromptStyle = "caption"  # instruction: LWM's "Generate an image of …" in the chat template
    sampling: Sampling = field(default_factory=Sampling)  # sample n has the seed plus n

    def __post_init__(self) -> None:
        for name in ("frames", "samples"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not self.description.strip():
            raise ConfigError("the description of the frames is empty")
        if self.negative is not None and self.guidance == 1:
            raise ConfigError("a negative prompt has no effect with guidance 1: set guidance above 1, such as 5")


def frame_codes(
    ids: Sequence[int] | NDArray[np.integer], vocabulary: Vocabulary, frame_tokens: int
) -> NDArray[np.uint32]:
    """Return the codes [T,P] of the ids of frames: P codes each, and one id that ends it."""
    frames = np.asarray(ids, np.int64).reshape(-1, frame_tokens + 1)[:, :-1]
    return (frames - vocabulary.text_size).astype(np.uint32)


@dataclass(frozen=True)
class VideoPrompts:
    """Makes the requests for the frames of a sample, and frames of its ids."""

    tokenizer: TextTokenizer
    vocabulary: Vocabulary
    frame_tokens: int  # P

    def first(self, request: VideoRequest, *, sample: int) -> Request:
        """Return the request for the first frame."""
        return self._request(request, "image", sample=sample, before=[], new=1)

    def others(self, request: VideoRequest, *, sample: int, first: Sequence[int]) -> Request:
        """Return the request for the frames after `first`, the ids of the first frame."""
        before = [*first[:-1], self.vocabulary.eof]  # as the first of several
        return self._request(request, "video", sample=sample, before=before, new=request.frames - 1)

    def length(self, request: VideoRequest) -> int:
        """Return the number of tokens of the longest prompt and all frames."""
        kind = "image" if request.frames == 1 else "video"
        shown = [request.description] + ([request.negative] if request.guidance != 1 else [])
        longest = max(len(self._prompt(request, kind, description)) for description in shown)
        return longest + request.frames * (self.frame_tokens + 1)

    def codes(self, ids: Sequence[int] | Ids) -> NDArray[np.uint32]:
        """Return the codes [T,P] of the ids of frames."""
        return frame_codes(ids, self.vocabulary, self.frame_tokens)

    def _request(self, request: VideoRequest, kind: str, *, sample: int, before: Sequence[int], new: int) -> Request:
        seed = (request.sampling.seed + sample) % _ALL_SEEDS
        other = np.concatenate([self._prompt(request, kind, request.negative), before]).astype(np.int64)
        return Request(
            prompt=np.concatenate([self._prompt(request, kind, request.description), before]).astype(np.int64),
            max_tokens=new * (self.frame_tokens + 1),
            sampling=replace(request.sampling, seed=seed),
            frames=FrameLimits(least=new, most=new),
            guidance=Guidance(prompt=other.tolist(), scale=request.guidance) if request.guidance != 1 else None,
        )

    def _prompt(self, request: VideoRequest, kind: str, description: str | None) -> Ids:
        """Return the ids up to `<vision>`; without a description only bos and `<vision>`, as in LWM."""
        if description is None:
            ids = np.asarray([self.vocabulary.bos_id])
        elif request.style == "instruction":
            article = "an" if kind == "image" else "a"
            message = {"role": "user", "content": f"Generate {article} {kind} of {description}"}
            ids = np.asarray(render_chat([message], self.tokenizer).ids)
        else:
            ids = np.concatenate([[self.vocabulary.bos_id], self.tokenizer.encode(description)])
        return np.concatenate([ids, self.vocabulary.begin_vision]).astype(np.int64)


@dataclass(frozen=True)
class VideoGenerator:
    """Generates with an engine that has the document grammar; guidance takes two of its rows."""

    engine: Engine
    tokenizer: TextTokenizer
    codec: FrameCodec
    vocabulary: Vocabulary
    context: int  # tokens of the sequences that the model was trained on

    def __post_init__(self) -> None:
        if not self.vocabulary.vision_size:
            raise ConfigError("this model has no vocabulary for vision: it continues texts (--text), but draws nothing")
        self.codec.require_encoder_of(self.vocabulary)
        if not self.vocabulary.begin_vision:
            raise ConfigError("this model was trained on texts alone: its text tokenizer has no pieces for <vision>")

    @property
    def frame_tokens(self) -> int:
        """P."""
        return math.prod(self.codec.grid)

    def frames(self, request: VideoRequest) -> NDArray[np.uint8]:
        """Return the frames [N,T,H,W,3], and show the progress on stderr; raises as `codes`."""
        per_frame = self.frame_tokens + 1
        total, made = request.samples * request.frames * per_frame, 0
        length = VideoPrompts(self.tokenizer, self.vocabulary, self.frame_tokens).length(request)
        with TrainingProgress("generate", steps=total, done=0) as shown:
            if length > self.context:
                shown.log(
                    f"generate: prompt and frames have {length} tokens, the model was trained on contexts "
                    f"of {self.context}: what lies beyond may be poor. Use fewer frames or a shorter prompt."
                )
            shown.start()

            def progress(ids: int) -> None:
                nonlocal made
                made += ids
                shown.update(made, counted(made // per_frame, "frame"))

            codes = self.codes(request, progress)
        pixels = self.codec.decode(codes.reshape(-1, self.frame_tokens))
        return pixels.reshape(*codes.shape[:2], *pixels.shape[1:])

    def codes(self, request: VideoRequest, progress: Callable[[int], None] = lambda ids: None) -> NDArray[np.uint32]:
        """Return the codes [N,T,P]. `progress` is called with the number of ids that were generated since.

        Raises ConfigError if prompt and frames exceed the model or the cache.
        """
        prompts = VideoPrompts(self.tokenizer, self.vocabulary, self.frame_tokens)
        made = self._run([prompts.first(request, sample=n) for n in range(request.samples)], progress)
        if request.frames > 1:
            asked = [prompts.others(request, sample=n, first=first) for n, first in enumerate(made)]
            made = [first + rest for first, rest in zip(made, self._run(asked, progress), strict=True)]
        return np.stack([prompts.codes(ids) for ids in made])

    def _run(self, asked: Sequence[Request], progress: Callable[[int], None]) -> list[list[int]]:
        """Return the ids of all requests; all are cancelled if one raises."""
        tickets: dict[int, list[int]] = {}
        left: set[int] = set()
        try:
            for one in asked:
                ticket = self.engine.submit(one)
                tickets[ticket] = []
                left.add(ticket)
            while left:
                for made in self.engine.step():
                    if made.ticket in left:
                        tickets[made.ticket] += made.ids
                        progress(len(made.ids))
                        left -= {made.ticket} if made.finished else set()
        finally:
            for ticket in left:
                self.engine.cancel(ticket)
        return [*tickets.values()]
