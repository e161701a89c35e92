"""Options of the commands that train or convert tokenizers."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from pipeline.cli.place import FLAT, Inputs
from pipeline.runtime.progress import console
from pipeline.sources.manifest import read_manifest
from pipeline.text.books import BookConfig
from pipeline.text.qa import QaConfig
from pipeline.tokenize.text_model import _texts
from schemas.errors import ConfigError
from tokenizer.text.sentencepiece import TextTrainConfig, train_text_tokenizer


@dataclass(frozen=True, kw_only=True)
class TrainTextTokenizer:
    """Train a SentencePiece model (BPE, byte fallback, exact round trip) on books and question-answer documents."""

    inputs: Inputs
    """Folders of books, text files, or manifests."""
    out: Path
    """The .model file to write."""
    books: BookConfig = field(default_factory=BookConfig)
    qa: QaConfig = field(default_factory=QaConfig)
    train: Annotated[TextTrainConfig, FLAT] = field(default_factory=TextTrainConfig)

    def __call__(self, options: tuple[str, ...]) -> None:
        """Train and write the model."""
        items = read_manifest(self.inputs).items.to_pylist()
        texts = [item for item in items if item["kind"] in ("book", "qa")]
        if not texts:
            raise ConfigError(f"no book and no question-answer document in {', '.join(self.inputs)}")
        train_text_tokenizer(_texts(texts, self.books, self.qa), self.out, self.train)
        console.print(f"text tokenizer: {self.out}, from {len(texts)} books and question-answer documents")
