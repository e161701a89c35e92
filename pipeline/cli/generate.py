"""The command `generate`: continue a stored video or a text, or show a description, with a trained model.

It imports the trainer, as `pipeline/inference/` does (an exception in the import contracts): the prompt and the picture
belong to the pipeline, the model to the trainer, and neither may know the other.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.cli.settings import recorded_vision
from pipeline.inference.generated_files import write_frames
from pipeline.inference.loading import load_engine
from pipeline.inference.text_to_video import PromptStyle, VideoGenerator, VideoRequest, frame_codes
from pipeline.reports.reconstruction import codes_of, find_video, prompt_of, source_frames, write_rows
from pipeline.runtime.kept_tokenizer import check_kept
from pipeline.runtime.token_store import StoreFacts
from pipeline.runtime.workspace import Workspace
from pipeline.video.decoder import DecodeConfig
from schemas.counted import counted
from schemas.dataset_files import TEXT_TOKENIZER
from schemas.errors import ConfigError, UsageError
from schemas.printable import printable
from schemas.runs.checkpoint_files import finished_steps
from schemas.runs.messages import messages
from schemas.storage.location import Location
from schemas.storage.option import Address, Output
from schemas.vocab import Vocabulary
from tokenizer.codec import FrameCodec
from tokenizer.text.tokenizer import TextTokenizer
from trainer.config import Dtype, Weights
from trainer.cpu_devices import use_cpu_devices
from trainer.inference.engine import Engine, EngineConfig
from trainer.inference.requests import FrameLimits, Request, Sampling, StopConditions
from trainer.inference.stopping import before_stop
from trainer.run.description import Description

MAX_RATE = 120.0  # frames a second of a video
_SAMPLES_TOGETHER = 4  # samples that are decoded together


@dataclass(frozen=True, kw_only=True)
class Generate:
    """Continue the first frames of a stored video, or a text, or show a description, with a trained model.

    For a video, the picture --out shows the source frames, their reconstruction from the stored tokens, and the
    continuation, which begins at a red line. For a text, the continuation is printed. For a description (--prompt),
    --out is a picture of the new frames (.png), or a video of them (.mp4).
    """

    model: Address
    """Output folder of `longreel train` or `longreel import-model`, or its address in a bucket."""
    workspace: Address | None = None
    """The workspace with the tokens and tokenizers that the model was trained on. Required to continue a video. Default
    for a text: the text tokenizer in the folder of the model, which --prompt always takes."""
    out: Annotated[Path, Output.STREAM] | None = None
    """File to write: PNG, or MP4 with --prompt; /dev/stdout is standard output. Not required to continue a text."""
    video: str | None = None
    """Part of the address of a stored video. Default: a video of the validation split."""
    text: str | None = None
    """Continue this text instead of a video."""
    prompt: str | None = None
    """Show this description instead: a picture of --frames 1, or a video that begins with it. A picture of several
    frames has a row for each sample."""
    negative_prompt: str | None = None
    """Lead away from this description, with --guidance above 1. Default: from what has no description."""
    guidance: float = 1.0
    """Scale of classifier-free guidance towards --prompt. 1 is none, LWM takes 5 for pictures; it doubles the time."""
    samples: int = 1
    """Pictures or videos of --prompt to generate; sample n has the seed --seed plus n."""
    prompt_style: PromptStyle = "caption"
    """Whether --prompt is a caption before the frames, as in datasets, or an instruction in the chat template."""
    frame_rate: float = 4.0
    """Frames a second of the videos of --prompt."""
    prompt_frames: int = 8
    """Frames of the video that are given to the model."""
    frames: int = 8
    """Frames to generate."""
    steps: int = 200
    """Tokens to generate when a text is continued."""
    temperature: float = 1.0
    """Sampling temperature. Below 1, likely tokens are chosen more often, above 1 less often; 0 takes the likeliest."""
    top_k: int = 100
    """Sample from this many most likely tokens; 0 samples from all."""
    top_p: float = 1.0
    """Sample from the fewest most likely tokens that have this probability together."""
    min_p: float = 0.0
    """Sample from tokens with at least this share of the most likely token's probability."""
    repetition_penalty: float = 1.0
    """Above 1, tokens of the prompt and of the continuation become less likely."""
    stop: tuple[str, ...] = ()
    """End the continuation of a text before any of these texts."""
    seed: int = 0
    """Random seed for sampling."""
    devices: int | None = None
    """Virtual CPU devices to use. Default: the first accelerator, or one CPU device."""
    tensor: int = 1
    """Devices that split attention heads and feed-forward columns. The others split the cache."""
    cache_dtype: Dtype | None = None
    """Dtype of the key/value cache: float32 or bfloat16. Default: that of the model."""
    weight_dtype: Dtype | None = None
    """Dtype of the weights: bfloat16 takes half the memory, and is faster on a CPU. Default: that of the model."""
    weights: Weights = "params"
    """The trained parameters (params), or their moving average (ema) of a run with --optimizer.ema-decay."""
    block: int = 512
    """Tokens of the prompt that are processed together."""
    vision: str | None = None
    """The VQGAN that encoded the frames: the name of a shipped checkpoint, or a file of weights. Default: the one that
    the workspace is configured for."""

    def __post_init__(self) -> None:
        for field in ("prompt_frames", "frames", "steps", "samples"):
            if getattr(self, field) < 1:
                raise ConfigError(f"{field} must be at least 1, got {getattr(self, field)}")
        if not 0 < self.frame_rate <= MAX_RATE:
            raise ConfigError(f"frame_rate must be above 0 and at most {MAX_RATE}, got {self.frame_rate}")

    def __call__(self, options: tuple[str, ...]) -> None:
        """Load the model, generate, and show the result."""
        if sum(one is not None for one in (self.prompt, self.text, self.video)) > 1:
            raise UsageError("give either --prompt, --text or --video")
        if self.text is None and self.out is None:
            raise UsageError("name the file to write (--out picture.png), or give a text (--text ...)")
        if self.prompt is not None and self.out is not None:
            engine = self._from_description(self.prompt, self.out)
        else:
            engine = self._continue()
        messages.info(f"generate: {engine.speed}")

    def _continue(self) -> Engine:
        """Continue a text or a video; return the engine that did it."""
        if self.text is None and self.workspace is None:
            raise UsageError(
                "name the workspace of the video (--workspace DIR), or give a text (--text ...) or a description "
                "(--prompt ...)"
            )
        workspace = Workspace.existing(self.workspace) if self.workspace is not None else None
        facts = StoreFacts.read(workspace.tokens) if workspace is not None else None
        engine, description = self._load(facts)
        generator = _Generator(engine, description.context_length)
        if self.text is not None:
            text = self._continue_text(self.text, generator, description.vocabulary, self._text_tokenizer(workspace))
            print(printable(text, keep="\n\t"))
        elif workspace is not None and facts is not None and self.out is not None:
            self._continue_video(self.out, generator, facts, workspace)
        return engine

    def _load(self, facts: StoreFacts | None) -> tuple[Engine, Description]:
        """Load the model; `facts` are those of the workspace that it has to fit."""
        frame_tokens = math.prod(facts.frame_grid) if facts is not None else None
        engine, description = self._loaded(rows=1, frame_tokens=frame_tokens)
        if facts is not None:
            facts.vocabulary.require_same(description.vocabulary, ours=str(self.workspace), theirs=str(self.model))
        return engine, description

    def _text_tokenizer(self, workspace: Workspace | None) -> Location:
        """Return where the text tokenizer is."""
        if workspace is not None:
            check_kept(workspace)
            return workspace.text_tokenizer
        found = self.model / TEXT_TOKENIZER
        if not found.list():
            raise ConfigError(f"{found} is missing: give the workspace that the model was trained on (--workspace DIR)")
        return found

    def _from_description(self, prompt: str, out: Path) -> Engine:
        """Write pictures or videos of a description; return the engine that generated them."""
        request = VideoRequest(
            description=prompt,
            frames=self.frames,
            samples=self.samples,
            guidance=self.guidance,
            negative=self.negative_prompt,
            style=self.prompt_style,
            sampling=self._sampling(),
        )
        use_cpu_devices(self.devices)  # before the VQGAN starts JAX
        codec = FrameCodec.load(self.vision or recorded_vision(self.workspace))
        rows = min(self.samples, _SAMPLES_TOGETHER) * (1 if self.guidance == 1 else 2)
        engine, description = self._loaded(rows=rows, frame_tokens=math.prod(codec.grid))
        text = TextTokenizer.load(self.model / TEXT_TOKENIZER)
        generator = VideoGenerator(engine, text, codec, description.vocabulary, description.context_length)
        frames = generator.frames(request)
        paths = write_frames(out, frames, rate=self.frame_rate)
        messages.info(f"generate: {', '.join(map(str, paths))}")
        return engine

    def _loaded(self, *, rows: int, frame_tokens: int | None) -> tuple[Engine, Description]:
        return load_engine(
            self.model,
            EngineConfig(rows=rows, block=self.block, cache_dtype=self.cache_dtype, weight_dtype=self.weight_dtype),
            devices=self.devices,
            tensor=self.tensor,
            weights=self.weights,
            frame_tokens=frame_tokens,
        )

    def _sampling(self) -> Sampling:
        return Sampling(
            temperature=self.temperature,
            top_k=self.top_k,
            top_p=self.top_p,
            min_p=self.min_p,
            repetition_penalty=self.repetition_penalty,
            seed=self.seed,
        )

    def _request(self, prompt: NDArray[Any], steps: int, frames: FrameLimits, stop: StopConditions) -> Request:
        return Request(prompt=prompt, max_tokens=steps, sampling=self._sampling(), stop=stop, frames=frames)

    def _continue_text(self, prompt: str, generator: _Generator, vocabulary: Vocabulary, path: Location) -> str:
        text = TextTokenizer.load(path)
        if text.sha256 != vocabulary.text_sha256:
            raise ConfigError(f"{path} is not the model that encoded the tokens; run `longreel tokenize` to its end")
        # Documents of a workspace begin with bos; published models are trained with or without it.
        begins = self.workspace is not None or text.files.config.get("add_bos_token") is not False
        ids = np.concatenate([[vocabulary.bos_id] * begins, text.encode(prompt)]).astype(np.uint32)
        stop = StopConditions(
            ids=(vocabulary.eos_id,), texts=self.stop, decode=lambda ids: text.decode(np.asarray(ids, np.uint32))
        )
        request = self._request(ids, self.steps, FrameLimits(), stop)
        if self.workspace is None:  # there is no grammar that knows the size of a frame
            known = np.arange(vocabulary.size) < text.size
            request = replace(request, frames=None, allowed=None if known.all() else lambda _: known)
        return prompt + before_stop(text.decode(generator(request)), self.stop)

    def _continue_video(self, out: Path, generator: _Generator, facts: StoreFacts, workspace: Workspace) -> None:
        vocabulary, per_frame = facts.vocabulary, facts.frame_grid[0] * facts.frame_grid[1]
        vision = self.vision or recorded_vision(workspace.root)
        codec = FrameCodec.load(vision)
        codec.require_encoder_of(vocabulary)
        stored = find_video(workspace, self.video)
        # The prompt ends after a frame's <eof>; each new frame is its codes and one id that ends it.
        prompt = prompt_of(stored, self.prompt_frames)
        frames = FrameLimits(least=self.frames, most=self.frames)
        generated = generator(self._request(prompt, self.frames * (per_frame + 1), frames, StopConditions()))
        shown, known = self.prompt_frames + self.frames, codes_of(stored, vocabulary)
        continued = np.concatenate([known[: self.prompt_frames], frame_codes(generated, vocabulary, per_frame)])
        rows = {
            f"source: {Path(stored.row.uri).name}": source_frames(
                stored, DecodeConfig(size=facts.frame_size, fps=facts.frame_rate), shown
            ),
            "reconstructed from the stored tokens": codec.decode(known[:shown]),
            f"{counted(self.prompt_frames, 'frame')} given, then the model's continuation": codec.decode(continued),
        }
        step = finished_steps(self.model)[-1]
        title = f"{Path(stored.row.uri).name}, split {stored.row.split}; model {self.model.name} at step {step}"
        write_rows(out, rows, columns=shown, title=title, generated_from=self.prompt_frames)
        messages.info(f"generate: {out}: source, reconstruction, continuation")


@dataclass(frozen=True)
class _Generator:
    """Continues prompts; warns where they leave the context that the model was trained on."""

    engine: Engine
    context: int  # tokens

    def __call__(self, request: Request) -> NDArray[np.int32]:
        length = len(request.prompt) + request.max_tokens
        if length > self.context:
            messages.warning(
                f"generate: prompt and continuation have up to {length} tokens, the model was trained on contexts of "
                f"{self.context}: what lies beyond may be poor. Use a shorter prompt or fewer tokens."
            )
        return np.asarray(self.engine.generate([request])[0].ids, np.int32)
