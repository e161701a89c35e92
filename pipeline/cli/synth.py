"""The commands `synth needle`, `synth copy` and `synth ruler`: synthetic items to train on."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar

from tyro.conf import OmitArgPrefixes, arg

from pipeline.cli.evaluation import text_of
from pipeline.evaluation.haystack import Haystack
from pipeline.evaluation.ruler.samples import TASKS
from pipeline.synthesis.copying import CopyConfig, copy_documents
from pipeline.synthesis.item import SynthConfig, SyntheticDocument, text_hash, write_documents
from pipeline.synthesis.needles import NeedleItems, needle_documents
from pipeline.synthesis.ruler import ruler_documents
from pipeline.text.qa_items import MANIFEST
from schemas.counted import counted
from schemas.runs.folder_lock import locked_folder
from schemas.runs.messages import messages
from schemas.storage.option import Address, NewFolder
from tokenizer.text.tokenizer import TextTokenizer


@dataclass(frozen=True, kw_only=True)
class Destination:
    """Where the documents are written, and what the manifest says about them."""

    out: NewFolder
    """Folder for the documents and OUT/manifest.jsonl, an input of `longreel run`."""
    text_tokenizer: Address
    """Text tokenizer that the documents will be tokenized with: a .model, tokenizer.json or .gguf file, or the folder
    of a published model."""
    license: str | None = None
    """License of the documents in the manifest."""
    source: str | None = None
    """Source of the documents in the manifest, by which a mixture chooses them. Default: the task and the length, such
    as needle-512."""
    synth: Annotated[SynthConfig, OmitArgPrefixes]

    def write(self, task: str, documents: Iterable[SyntheticDocument]) -> None:
        """Write the documents."""
        columns = {"source": self.source or f"{task}-{self.synth.length}"}
        columns |= {} if self.license is None else {"license": self.license}
        with locked_folder(self.out):
            count = write_documents(task, documents, self.out, self.synth, columns=columns)
        messages.info(f"synth {task}: {counted(count, 'document')}; {self.out / MANIFEST}")

    def tokenizer(self) -> TextTokenizer:
        """Return the text tokenizer."""
        return TextTokenizer.load(self.text_tokenizer)


@dataclass(frozen=True, kw_only=True)
class SynthNeedle:
    """Write documents with facts about cities hidden in a text, and questions about them as `eval needle` asks.

    See docs/synthetic_data.md.
    """

    RECORD: ClassVar = "out"

    haystack: tuple[Path, ...]
    """Books or text files that the facts are hidden in, together at least as long as a document."""
    needle: Annotated[NeedleItems, OmitArgPrefixes] = field(default_factory=NeedleItems)
    destination: Annotated[Destination, arg(name="")]

    def __call__(self, options: tuple[str, ...]) -> None:
        """Write the documents."""
        to, text = self.destination, text_of(self.haystack)
        tokenizer, known = to.tokenizer(), {"haystack": text_hash(text), **dataclasses.asdict(self.needle)}
        made = needle_documents(self.needle, to.synth, Haystack(text, tokenizer), tokenizer)
        to.write("needle", (SyntheticDocument(one.turns, {**known, **one.facts}) for one in made))


@dataclass(frozen=True, kw_only=True)
class SynthCopy:
    """Write documents in which blocks of random words and digits are repeated, from which models learn to look back."""

    RECORD: ClassVar = "out"

    copying: Annotated[CopyConfig, OmitArgPrefixes] = field(default_factory=CopyConfig)
    destination: Annotated[Destination, arg(name="")]

    def __call__(self, options: tuple[str, ...]) -> None:
        """Write the documents."""
        to, known = self.destination, dataclasses.asdict(self.copying)
        made = copy_documents(self.copying, to.synth, to.tokenizer())
        to.write("copy", (SyntheticDocument(one.turns, {**known, **one.facts}) for one in made))


@dataclass(frozen=True, kw_only=True)
class SynthRuler:
    """Write the prompts of RULER's eleven synthetic tasks with their answers."""

    RECORD: ClassVar = "out"

    haystack: tuple[Path, ...] = ()
    """Books or text files that facts are hidden in, for the tasks that hide them in text."""
    tasks: tuple[str, ...] = tuple(TASKS)
    """RULER's names of tasks; each has an equal number of the documents."""
    destination: Annotated[Destination, arg(name="")]

    def __call__(self, options: tuple[str, ...]) -> None:
        """Write the documents."""
        to, text = self.destination, text_of(self.haystack)
        tokenizer = to.tokenizer()
        haystack, known = (Haystack(text, tokenizer), {"haystack": text_hash(text)}) if text else (None, {})
        made = ruler_documents(self.tasks, to.synth, haystack, tokenizer)
        to.write("ruler", (SyntheticDocument(one.turns, {**known, **one.facts}) for one in made))
