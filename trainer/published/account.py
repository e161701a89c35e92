"""What an import does to a model, in words."""

from __future__ import annotations

from schemas.vocab import Vocabulary
from trainer.published import names
from trainer.published.plan import tensor_dtypes
from trainer.published.source import Published
from trainer.published.source_tokenizer import SourceTokenizer


def account_of(published: Published, tokenizer: SourceTokenizer, vocabulary: Vocabulary) -> tuple[str, ...]:
    """Say what is read, what becomes of the tables, and where the text tokenizer comes from; one line each."""
    return (*_tensors(published, vocabulary), *_tokenizer(tokenizer, vocabulary))


def _tensors(published: Published, vocabulary: Vocabulary) -> list[str]:
    dtypes = ", ".join(f"{count} {name}" for name, count in sorted(tensor_dtypes(published).items()))
    lines = [f"{len(published.tensors)} tensors of {published.kind} ({dtypes}) converted to float32"]
    tables = [(names.TEXT_EMBEDDING, vocabulary.text_size), (names.VISION_EMBEDDING, vocabulary.vision_size)]
    for name, size in tables:
        modality, rows = name.split("_")[0], published.table_rows(name)
        if not size and rows:
            lines.append(f"{modality} tables: all {rows} rows of the source are dropped")
        elif size and not rows:
            lines.append(f"{modality} tables: the source has none; {size} rows are new")
        elif rows < size:
            lines.append(f"{modality} tables: {rows} rows of the source; rows {rows} to {size - 1} are new")
        elif rows > size:
            lines.append(f"{modality} tables: rows 0 to {size - 1} of the source; its {rows - size} others are dropped")
        elif size:
            lines.append(f"{modality} tables: all {rows} rows of the source")
    return lines


def _tokenizer(tokenizer: SourceTokenizer, vocabulary: Vocabulary) -> list[str]:
    """Say where the text tokenizer comes from, if that is not the source."""
    known = tokenizer.sha256
    if known and vocabulary.text_sha256 not in tokenizer.hashes:
        return [f"the text tokenizer is not the source's {known[:12]}…: ids stand for other pieces than before"]
    if not known and not vocabulary.text_sha256:
        return [f"no text tokenizer, so `generate` and `chat` cannot use the model: {tokenizer.missing}"]
    return []
