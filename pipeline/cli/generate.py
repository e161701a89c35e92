"""The command `generate`: continue a stored video or a text with a trained model.

The only module of the pipeline that imports the trainer (an exception in the import contracts): the prompt and the
picture belong to the pipeline, the model to the trainer, and neither may know the other.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.cli.settings import recorded_vision
from pipeline.reports.reconstruction import codes_of, find_video, prompt_of, source_frames, write_rows
from pipeline.runtime.kept_tokenizer import check_kept
from pipeline.runtime.token_store import StoreFacts
from pipeline.runtime.workspace import Workspace
from pipeline.video.decoder import DecodeConfig
from schemas.errors import ConfigError, UsageError
from schemas.printable import printable
from schemas.storage.location import Location
from schemas.storage.option import Address
from schemas.vocab import Vocabulary
from tokenizer.codec import FrameCodec
from tokenizer.text.tokenizer import TextTokenizer
from trainer.config import MeshConfig
from trainer.mesh import make_mesh
from trainer.model.generate import generate
from trainer.model.grammar import DocumentGrammar
from trainer.model.protocol import Model
from trainer.run.state import load_model


@dataclass(frozen=True, kw_only=True)
class Generate:
    """Continue the first frames of a stored video, or a text, with a trained model.

    For a video, the picture --out shows the source frames, their reconstruction from the stored tokens, and the
    continuation. For a text, the continuation is printed.
    """

    model: Path
    """Output folder of `longreel train`."""
    workspace: Address
    """The workspace with the tokens and tokenizers that the model was trained on."""
    out: Path | None = None
    """PNG file to write. Required to continue a video."""
    video: str | None = None
    """Part of the address of a stored video. Default: a video of the validation split."""
    text: str | None = None
    """Continue this text instead of a video."""
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
    seed: int = 0
    """Random seed for sampling."""
    vision: str | None = None
    """The VQGAN that encoded the frames: the name of a shipped checkpoint, or a file of weights. Default: the one that
    the workspace is configured for."""

    def __post_init__(self) -> None:
        for field in ("prompt_frames", "frames", "steps"):
            if getattr(self, field) < 1:
                raise ConfigError(f"{field} must be at least 1, got {getattr(self, field)}")

    def __call__(self, options: tuple[str, ...]) -> None:
        """Load the model, generate, and show the result."""
        import jax

        if self.text is None and self.out is None:
            raise UsageError("name the picture to write (--out picture.png), or give a text (--text ...)")
        workspace = Workspace.existing(self.workspace)
        facts = StoreFacts.read(workspace.tokens)
        model, description = load_model(self.model, mesh=make_mesh(MeshConfig(), devices=jax.local_devices()[:1]))
        facts.vocabulary.require_same(description.vocabulary, ours=str(self.workspace), theirs=str(self.model))
        if self.text is not None:
            check_kept(workspace)
            text = self._continue_text(self.text, model, facts.vocabulary, workspace.text_tokenizer)
            print(printable(text, keep="\n\t"))
        elif self.out is not None:
            self._continue_video(self.out, model, facts, workspace)

    def _sample(self, model: Model, prompt: NDArray[Any], steps: int, grammar: DocumentGrammar) -> NDArray[np.int32]:
        import jax.numpy as jnp

        ids = generate(
            model,
            jnp.asarray(prompt, jnp.int32)[None],
            steps=steps,
            seed=self.seed,
            temperature=self.temperature,
            top_k=self.top_k,
            grammar=grammar,
        )
        return np.asarray(ids)[0]

    def _continue_text(self, prompt: str, model: Model, vocabulary: Vocabulary, path: Location) -> str:
        text = TextTokenizer.load(path)
        if text.sha256 != vocabulary.text_sha256:
            raise ConfigError(f"{path} is not the model that encoded the tokens; run `longreel tokenize` to its end")
        ids = np.concatenate([[vocabulary.bos_id], text.encode(prompt)])
        grammar = DocumentGrammar(vocabulary=vocabulary, frame_tokens=1, max_frames=0)
        generated = self._sample(model, ids, self.steps, grammar)
        return prompt + text.decode(generated[generated != vocabulary.eos_id])

    def _continue_video(self, out: Path, model: Model, facts: StoreFacts, workspace: Workspace) -> None:
        vocabulary, per_frame = facts.vocabulary, facts.frame_grid[0] * facts.frame_grid[1]
        vision = self.vision or recorded_vision(workspace.root)
        codec = FrameCodec.load(vision)
        if codec.sha256 != vocabulary.vision_sha256:
            raise ConfigError(f"the VQGAN {vision!r} did not encode the tokens: name the one that did (--vision)")
        stored = find_video(workspace, self.video)
        grammar = DocumentGrammar(
            vocabulary=vocabulary, frame_tokens=per_frame, max_frames=self.frames, min_frames=self.frames
        )
        # The prompt ends after a frame's <eof>; each new frame is its codes and one id that ends it.
        prompt = prompt_of(stored, self.prompt_frames)
        generated = self._sample(model, prompt, self.frames * (per_frame + 1), grammar)
        new = generated[(generated >= vocabulary.text_size) & (generated < vocabulary.eof)] - vocabulary.text_size
        shown, known = self.prompt_frames + self.frames, codes_of(stored, vocabulary)
        continued = np.concatenate([known[: self.prompt_frames], new.reshape(-1, per_frame)])
        rows = {
            f"source: {Path(stored.row.uri).name}": source_frames(
                stored, DecodeConfig(size=facts.frame_size, fps=facts.frame_rate), shown
            ),
            "reconstructed from the stored tokens": codec.decode(known[:shown]),
            f"{self.prompt_frames} frames given, then the model's continuation": codec.decode(continued),
        }
        write_rows(out, rows, columns=shown)
        print(printable(f"generate: {out}: source, reconstruction, continuation"), file=sys.stderr)
