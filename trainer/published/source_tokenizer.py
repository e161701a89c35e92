"""The text tokenizer of a published model: in its folder, or in the metadata of a GGUF file.

The files of a folder are kept byte by byte, with those of generation; the metadata of a GGUF file is converted, as
`--text-tokenizer FILE.gguf` does.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

from schemas.errors import ConfigError
from schemas.storage.location import located
from schemas.weight_files.tokenizer_files import read_tokenizer_files
from trainer.published.source import TOKENIZER_FILES, Published, tokenizer_files


@dataclass(frozen=True, kw_only=True)
class SourceTokenizer:
    """The files of a text tokenizer by name; without a vocabulary if the source has none that is supported."""

    files: Mapping[str, bytes] = field(default_factory=dict)
    sha256: str = ""  # of the file that identifies it
    missing: str = ""  # why there is none

    @property
    def hashes(self) -> set[str]:
        """The SHA-256 of each file with a vocabulary; tokenizer.model and tokenizer.json can be the same tokenizer."""
        return {hashlib.sha256(self.files[name]).hexdigest() for name in TOKENIZER_FILES if name in self.files}


def read_source_tokenizer(published: Published, *, wanted: str = "") -> SourceTokenizer:
    """Return the text tokenizer of a published model.

    A GGUF file can have one in its metadata and another next to it, such as the tokenizer.json that it was made from:
    the one with the SHA-256 `wanted` is returned, or else that of the metadata. Raises ConfigError if the one in a
    folder is malformed.
    """
    found = [_of_metadata(published)] if published.kind == "gguf" else []
    found.append(_of_folder(published))
    usable = [tokenizer for tokenizer in found if tokenizer.sha256] or found
    return next((tokenizer for tokenizer in usable if wanted in tokenizer.hashes), usable[0])


def _of_metadata(published: Published) -> SourceTokenizer:
    try:
        found = read_tokenizer_files(published.path)
    except ConfigError as e:
        return SourceTokenizer(missing=str(e))
    return SourceTokenizer(files=found.contents(), sha256=found.sha256)


def _of_folder(published: Published) -> SourceTokenizer:
    files = {path.name: located(path).read() for path in tokenizer_files(published.folder)}
    if not any(name in files for name in TOKENIZER_FILES):
        return SourceTokenizer(files=files, missing=f"{published.folder} has no {' or '.join(TOKENIZER_FILES)}")
    return SourceTokenizer(files=files, sha256=read_tokenizer_files(published.folder).sha256)
