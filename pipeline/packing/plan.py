"""The plan: all that the workers need to know to pack, made from the length histograms of all documents.

It does not grow with the number of documents, but with that of their lengths; it is what Beam hands to every worker.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.packing.config import PackConfig, require_context
from pipeline.packing.digest import digest_array
from pipeline.packing.histogram_bins import Integers
from pipeline.packing.length_histograms import LengthHistograms
from pipeline.packing.packing_plan import PackingPlan, make_packing_plan
from schemas.dataset import SCHEMA_VERSION, shard_name
from schemas.errors import DatasetError
from schemas.fingerprint import fingerprint
from schemas.shards.tar import BLOCK
from schemas.vocab import Vocabulary

VERSION = 1  # increment when the same documents give other shards
_SPAN_BYTES = 256  # of spans and JSON, a document: for the size of a shard only


@dataclass(frozen=True, eq=False)
class SplitPlan:
    """What is planned for one split."""

    packing: PackingPlan
    shards: int
    documents: int  # one that goes in twice counts twice
    tokens: int
    fewest: int  # sequences that no packing can go below
    mean_targets: float  # of a document

    @property
    def sequences(self) -> int:
        """Number of sequences."""
        return self.packing.sequences

    def first_sequence(self, shard: int) -> int:
        """Return the first sequence of a shard; the numbers of sequences in shards differ by one at most."""
        return self.sequences * shard // self.shards

    def shard_of(self, sequence: Integers) -> Integers:
        """Return the shard of each sequence [N]."""
        return ((sequence + 1) * self.shards - 1) // self.sequences  # the last whose first sequence is not behind it


@dataclass(frozen=True, eq=False)
class Plan:
    """What a packed dataset will be."""

    config: PackConfig
    context_length: int
    vocabulary: Vocabulary
    text_factor: float  # see Mixture
    documents: int  # in the token store
    out: Mapping[str, int]  # those that do not go in, by reason
    splits: Mapping[str, SplitPlan]  # those with documents, in the order of records.SPLITS
    fingerprint: str

    def shard_names(self, split: str) -> list[str]:
        """Return the names of a split's shards."""
        count = self.splits[split].shards
        return [shard_name(split, i, count) for i in range(count)]

    def fill(self, split: str) -> float:
        """Return the share of places that hold a token."""
        part = self.splits[split]
        return part.tokens / (part.sequences * self.context_length)

    def best_fill(self, split: str) -> float:
        """Return a fill that no packing of these documents can exceed."""
        part = self.splits[split]
        return part.tokens / (part.fewest * self.context_length)


def make_plan(
    histograms: LengthHistograms,
    config: PackConfig,
    *,
    context_length: int,
    vocabulary: Vocabulary,
    text_factor: float = 1.0,
) -> Plan:
    """Plan the packing of the documents that were counted.

    Raises ConfigError where the context is out of range, DatasetError where no document goes in.
    """
    require_context(context_length)
    if not histograms.splits:
        out = ", ".join(f"{number} {reason}" for reason, number in histograms.out.items())
        raise DatasetError(
            "there is no document to pack: " + (out or "every item was rejected, or nothing was tokenized")
        )
    splits = {name: _plan_split(histograms, name, config, context_length, vocabulary) for name in histograms.splits}
    # With the packings in it, shards of two runs that would differ are never taken for parts of one dataset.
    packings = {name: [digest_array(array) for array in part.packing.arrays] for name, part in splits.items()}
    return Plan(
        config=config,
        context_length=context_length,
        vocabulary=vocabulary,
        text_factor=text_factor,
        documents=histograms.rows,
        out=histograms.out,
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
    packing, fewest = make_packing_plan(
        split.item, split.text, split.unsplittable, context_length=context_length, reach=reach
    )
    a_sequence = 5 * BLOCK + context_length * vocabulary.dtype.itemsize
    size = packing.sequences * a_sequence + split.documents * _SPAN_BYTES
    return SplitPlan(
        packing=packing,
        shards=min(packing.sequences, max(1, -(-size // config.shard_bytes))),
        documents=split.documents,
        tokens=split.item.tokens + split.text.tokens,
        fewest=fewest,
        mean_targets=split.targets / split.documents,
    )
