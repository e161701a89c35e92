"""The dataset plan: all that workers need to pack, made from the length histograms of all documents.

Its size depends on the number of distinct lengths, not on the number of documents. Workers read it from the store.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.packing.config import PackConfig, require_context
from pipeline.packing.digest import digest_array
from pipeline.packing.histogram_bins import Integers
from pipeline.packing.length_histograms import LengthHistograms
from pipeline.packing.packing_plan import PackingPlan, make_packing_plan
from schemas.dataset import SCHEMA_VERSION
from schemas.dataset_files import shard_name
from schemas.errors import DatasetError
from schemas.fingerprint import fingerprint
from schemas.shards.tar import BLOCK
from schemas.vocab import Vocabulary

VERSION = 1  # increment if the same documents give different shards
_DOCUMENT_BYTES = 256  # estimated size of the spans and the JSON of a document


@dataclass(frozen=True, eq=False)
class SplitPlan:
    """The plan of one split: its packing plan, the number of shards, and the expected counts."""

    packing: PackingPlan
    shards: int
    documents: int  # copies included
    tokens: int
    min_sequences: int  # lower bound on the number of sequences of any packing
    mean_targets: float  # mean over the documents of the summed span weights of their targets

    @property
    def sequences(self) -> int:
        """Number of sequences."""
        return self.packing.sequences

    def first_sequence(self, shard: int) -> int:
        """Return the first sequence of a shard; the sizes of shards differ by at most one sequence."""
        return self.sequences * shard // self.shards

    def shard_of(self, sequence: Integers) -> Integers:
        """Return the shard of each sequence [N]."""
        return ((sequence + 1) * self.shards - 1) // self.sequences  # inverse of `first_sequence`


@dataclass(frozen=True, eq=False)
class DatasetPlan:
    """The plan of a dataset."""

    config: PackConfig
    context_length: int
    vocabulary: Vocabulary
    text_factor: float  # see `Mixture.text_factor`
    documents: int  # in the token store
    excluded: Mapping[str, int]  # documents that are not packed, by reason
    splits: Mapping[str, SplitPlan]  # splits with documents, in the order of records.SPLITS
    fingerprint: str

    def shard_names(self, split: str) -> list[str]:
        """Return the file names of the shards of a split."""
        count = self.splits[split].shards
        return [shard_name(split, i, count) for i in range(count)]

    def fill(self, split: str) -> float:
        """Return the fraction of the places in the sequences of a split that hold a token."""
        part = self.splits[split]
        return part.tokens / (part.sequences * self.context_length)

    def best_fill(self, split: str) -> float:
        """Return an upper bound on the fill of any packing of these documents."""
        part = self.splits[split]
        return part.tokens / (part.min_sequences * self.context_length)


def make_plan(
    histograms: LengthHistograms,
    config: PackConfig,
    *,
    context_length: int,
    vocabulary: Vocabulary,
    text_factor: float = 1.0,
) -> DatasetPlan:
    """Plan the packing of the counted documents.

    Raises ConfigError if the context length is not supported, DatasetError if there is no document to pack.
    """
    require_context(context_length)
    if not histograms.splits:
        reasons = ", ".join(f"{number} {reason}" for reason, number in histograms.excluded.items())
        raise DatasetError(
            f"there is no document to pack: {reasons or 'the token store is empty'}; see `longreel report` for reasons"
        )
    splits = {name: _plan_split(histograms, name, config, context_length, vocabulary) for name in histograms.splits}
    # The fingerprint includes the packing plans, so that a run never reuses shards of a different packing.
    packings = {name: [digest_array(array) for array in part.packing.arrays] for name, part in splits.items()}
    return DatasetPlan(
        config=config,
        context_length=context_length,
        vocabulary=vocabulary,
        text_factor=text_factor,
        documents=histograms.rows,
        excluded=histograms.excluded,
        splits=splits,
        fingerprint=fingerprint(
            VERSION, SCHEMA_VERSION, config, context_length, vocabulary, f"{histograms.digest:x}", text_factor, packings
        ),
    )


def _plan_split(
    histograms: LengthHistograms, name: str, config: PackConfig, context_length: int, vocabulary: Vocabulary
) -> SplitPlan:
    split = histograms.splits[name]
    reach = config.reach(context_length) if split.text.items else 0
    packing, min_sequences = make_packing_plan(
        split.item, split.text, split.unsplittable, context_length=context_length, reach=reach
    )
    sequence_bytes = 5 * BLOCK + context_length * vocabulary.dtype.itemsize
    size = packing.sequences * sequence_bytes + split.documents * _DOCUMENT_BYTES
    return SplitPlan(
        packing=packing,
        shards=min(packing.sequences, max(1, -(-size // config.shard_bytes))),
        documents=split.documents,
        tokens=split.item.tokens + split.text.tokens,
        min_sequences=min_sequences,
        mean_targets=split.targets / split.documents,
    )
