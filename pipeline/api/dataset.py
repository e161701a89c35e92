"""A packed dataset as a sequence of sequences: tokens, named spans, arrays for training, and text and frames again.

Axes: S tokens of a sequence, M spans, F frames, H and W pixels.
"""

from __future__ import annotations

import bisect
import collections.abc
import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from pipeline.dataset.reader import Sequences
from schemas.dataset import read_card
from schemas.errors import ConfigError, DatasetError, VocabularyMismatch
from schemas.packed import Attention, expand
from schemas.shards.index import read_checked_index
from schemas.shards.sequence import PackedSequence
from schemas.storage.location import Location
from schemas.text_tokenizer import local_copy
from schemas.vocab import TEXT

if TYPE_CHECKING:
    from tokenizer.codec import FrameCodec
    from tokenizer.text.tokenizer import TextTokenizer


@dataclass(frozen=True, eq=False)
class Part:
    """A run of tokens of one modality, decoded: either `text`, or `frames` uint8 [F, H, W, 3] in RGB."""

    document: str  # id, the SHA-256 of the file
    start: int  # in tokens of the sequence
    length: int  # in tokens
    text: str | None = None
    frames: NDArray[np.uint8] | None = None


class Dataset(collections.abc.Sequence[PackedSequence]):
    """One split of a dataset that `longreel pack` wrote, in a folder or a bucket (s3://, gs://).

    `dataset[i]` is a PackedSequence: `key`, `tokens` [S] (uint16 or uint32), `spans` [M], a structured array with the
    fields start and length (int32, in tokens), document (int32, from 0 in the sequence), modality (int8: 0 text, 1
    frames) and weight (float32, of the loss), and `chunks`, which have the id of each document and the range of its
    tokens. What follows the last span is padding. A sequence is read when it is asked for, and compared with its
    checksum.

    Raises ConfigError if there is no dataset, DatasetError if the split is absent; reading raises DatasetError if the
    bytes are damaged.
    """

    def __init__(self, place: str | Path, split: str = "train") -> None:
        self._place = Location.parse(place)
        self.card = read_card(self._place)
        self._sequences = Sequences(self._place, self.card)
        self._shards = [entry for entry in read_checked_index(self._place, self.card) if entry.split == split]
        self._ends = list(itertools.accumulate(entry.nsamples for entry in self._shards))
        if not self._shards:
            raise DatasetError(f"{place} has no split {split!r}; it has {', '.join(self.card.splits) or 'none'}")

    @property
    def context_length(self) -> int:
        """S, the number of tokens of every sequence."""
        return self.card.context_length

    def __len__(self) -> int:
        """Return the number of sequences."""
        return self._ends[-1]

    def __getitem__(self, index: Any) -> Any:
        """Return one sequence; negative indices count from the end. A slice gives a list.

        Raises IndexError beyond the last sequence, DatasetError if its bytes are damaged.
        """
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        i = range(len(self))[index]  # raises IndexError
        shard = bisect.bisect_right(self._ends, i)
        entry = self._shards[shard]
        return self._sequences.read_at(entry.url, i - (self._ends[shard] - entry.nsamples))

    def arrays(self, index: int) -> dict[str, NDArray[Any]]:
        """Return what a model is trained on, each [S].

        `tokens` and `targets` (the next tokens) int64, `weights` float32 of the targets (0 at the end of a document
        and for padding), `segment_ids` int64 (0 for padding; attention stays within a segment) and `positions` int64.
        Raises IndexError beyond the last sequence, DatasetError if its bytes are damaged.
        """
        sequence, length = self[index], self.context_length
        inputs = expand(sequence.spans, length, attention=cast(Attention, self.card.attention))
        tokens = sequence.tokens.astype(np.int64)
        return {
            "tokens": tokens,
            "targets": np.append(tokens[1:], 0),
            "weights": np.append(inputs.weights[1:], np.float32(0)),
            "segment_ids": inputs.segment_ids.astype(np.int64),
            "positions": inputs.positions.astype(np.int64),
        }

    def for_torch(self) -> Arrays:
        """Return a map-style dataset for `torch.utils.data.DataLoader`, which makes tensors [B, S] of `arrays`.

        It can be pickled for worker processes, and does not need torch itself.
        """
        return Arrays(self)

    def decode(self, index: int, *, vision: str = "small-128", text_tokenizer: str | Path | None = None) -> list[Part]:
        """Return a sequence as text and frames, in order.

        `vision` is the VQGAN that encoded the frames: the name of a shipped checkpoint, or a file. `text_tokenizer`
        defaults to the dataset's copy. Markers around frames are part of the text. Raises VocabularyMismatch if one of
        them is not that of the dataset, ConfigError if there is no text tokenizer.
        """
        sequence, text = self[index], self._text_tokenizer(text_tokenizer)
        codec = self._codec(vision) if (sequence.spans["modality"] != TEXT).any() else None
        names = [chunk.id for chunk in sequence.chunks]
        parts = []
        for span in sequence.spans:
            start, length, document = int(span["start"]), int(span["length"]), names[span["document"]]
            tokens = sequence.tokens[start : start + length]
            if codec is None or span["modality"] == TEXT:
                parts.append(Part(document, start, length, text=text.decode(tokens)))
            else:
                parts.append(Part(document, start, length, frames=self._frames(tokens, codec)))
        return parts

    def _text_tokenizer(self, given: str | Path | None) -> TextTokenizer:
        from tokenizer.text.tokenizer import TextTokenizer

        place = self.card.text_tokenizer_folder(self._place) if given is None else Location.parse(given)
        if place is None:
            raise ConfigError(f"{self._place} has no copy of its text tokenizer: give text_tokenizer=FILE")
        with local_copy(place) as copy:
            text = TextTokenizer.load(copy)
        if text.sha256 != self.card.vocabulary.text_sha256:
            raise VocabularyMismatch(f"{place} is not the text tokenizer of {self._place}")
        return text

    def _codec(self, vision: str) -> FrameCodec:
        from tokenizer.codec import FrameCodec  # imports JAX

        codec = FrameCodec.load(vision)
        codec.require_encoder_of(self.card.vocabulary)
        return codec

    def _frames(self, tokens: NDArray[Any], codec: FrameCodec) -> NDArray[np.uint8]:
        vocabulary, grid = self.card.vocabulary, self.card.frame_grid
        codes = tokens.reshape(-1, grid[0] * grid[1] + 1)[:, :-1]  # without <eof> and <eov>
        return codec.decode(codes - vocabulary.dtype.type(vocabulary.text_size), grid=grid)


class Arrays:
    """The sequences of a Dataset as dictionaries of arrays; see `Dataset.arrays`."""

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset

    def __len__(self) -> int:
        """Return the number of sequences."""
        return len(self._dataset)

    def __getitem__(self, index: int) -> dict[str, NDArray[Any]]:
        """Return the arrays of one sequence, each [S] and int64 or float32, as `Dataset.arrays`. Raises as it does."""
        return self._dataset.arrays(index)
