"""Which items are kept, and in which split.

Each item is judged alone first, by the filters (`pipeline.filters.registry`). Then the items that share content, as
found by `dedup`, are judged together: of duplicates and near-duplicates the best one is kept (`keep_best`), and the
passages of a book that a better one contains are removed from it. The split is that of the manifest. If the manifest
gives none, an item goes to the split that the manifest gives another item of its cluster, or else to the one that a
hash of the cluster gives. Items that share content are never in both splits, unless the manifest puts them there.
Text that a kept item does not have comes from its copies (`duplicate_text`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from pipeline.dedup.pairs import Pair
from pipeline.filters.filter import Rejection
from pipeline.select.config import SelectConfig
from pipeline.select.duplicate_text import Copy, adopt_text
from pipeline.select.keep_best import KeepConfig, Rank, choose, clusters, duplicate_passages, is_related, rank
from schemas.errors import Reason
from schemas.fingerprint import bucket
from schemas.rows import Cut, SurveyRow

_SPLIT_STEPS = 1_000_000  # resolution of val_fraction


def judge(row: SurveyRow, config: SelectConfig) -> Rejection | None:
    """Return why the survey or a filter rejects a surveyed row, or None if all keep it."""
    if row.reason:
        return Rejection(Reason(row.reason), row.detail or "")
    return config.filters.reject(row)


def choose_split(row: SurveyRow, config: SelectConfig, given: Collection[str] = ()) -> str:
    """Return the manifest's split of a row, or else that of its cluster.

    `given` are the splits that the manifest gives to other rows of the cluster: the row goes to that split, and to
    "val" if there are both.
    """
    if row.split:
        return row.split
    if given:
        return "val" if "val" in given else "train"
    share = bucket(f"{config.split_seed}/{row.cluster}", _SPLIT_STEPS) / _SPLIT_STEPS
    return "val" if share < config.val_fraction else "train"


class _Rejected(NamedTuple):
    """A rejected row, and the content_id of the item that it duplicates, if that is why."""

    row: SurveyRow
    rejection: Rejection
    duplicates: str | None = None


def judge_cluster(
    rows: Iterable[SurveyRow], pairs: Sequence[Pair], config: SelectConfig, *, absent: Collection[str] = ()
) -> Iterator[SurveyRow]:
    """Judge rows that share content, of which `pairs` are the pairs, and yield each row once with its verdict.

    `absent` are the addresses of absent items. They take part as if they were there, but a present file with the same
    bytes is kept instead: the file was moved.
    """
    ordered = _in_order(rows, config.keep, absent)
    best, rejected = _drop_duplicates(ordered, config)
    ranks = {content_id: rank(row, config.keep.prefer) for content_id, row in best.items()}
    near = choose(ranks, pairs, config.keep) if config.keep.remove_near_duplicates else {}
    kept = {content_id: ranks[content_id] for content_id in best if content_id not in near}
    present = [row for row in ordered if row.uri not in absent]
    splits = {row.split for row in present or ordered if row.split}
    passages = _book_pairs(pairs, config.keep)
    copies = _copies(best, rejected, near, pairs, config.keep)
    unused: dict[str, str] = {}
    for content_id in kept:
        adopted = adopt_text(best[content_id], copies[content_id], min_containment=config.keep.min_containment)
        unused |= adopted.unused
        yield _keep(adopted.row, kept, passages.get(content_id, ()), choose_split(adopted.row, config, splits))
    for content_id, pair in near.items():
        detail = _near_duplicate(content_id, pair, best[pair.other(content_id)].uri)
        rejected.append(_Rejected(best[content_id], Rejection(Reason.NEAR_DUPLICATE, detail), content_id))
    kept_instead = {content_id: pair.other(content_id) for content_id, pair in near.items()}
    for row, (reason, detail), like in rejected:
        # The item that a copy duplicates may itself be a near-duplicate of the one that is kept.
        kept_content_id = like and kept_instead.get(like, like)
        detail = "; ".join(filter(None, [detail, unused.get(row.uri)]))
        yield replace(row, reason=reason.value, detail=detail, kept_content_id=kept_content_id)


def _in_order(rows: Iterable[SurveyRow], config: KeepConfig, absent: Collection[str]) -> list[SurveyRow]:
    """Return the rows, better ones first, and of those with the same bytes the present ones first."""
    ranked = sorted(rows, key=lambda row: rank(row, config.prefer))
    place: dict[str, int] = {}
    for number, row in enumerate(ranked):
        place.setdefault(row.identity, number)
    return sorted(ranked, key=lambda row: (place[row.identity], row.uri in absent))


def _copies(
    best: Mapping[str, SurveyRow],
    rejected: Iterable[_Rejected],
    near: Mapping[str, Pair],
    pairs: Iterable[Pair],
    config: KeepConfig,
) -> Mapping[str, Sequence[Copy]]:
    """Return, by content_id of each kept item, the copies that are rejected in its favor; same content comes first.

    A copy that a limit rejects, such as a small one, counts as well; its text is as good as that of others.
    """
    similar: dict[str, dict[str, Pair]] = {}  # by content_id of a rejected item, and of a kept one that contains it
    for content_id, pair in near.items():
        similar.setdefault(content_id, {})[pair.other(content_id)] = pair
    for pair in pairs if config.remove_near_duplicates else ():
        for content_id in (pair.a, pair.b):
            if content_id not in best and pair.containment_of(content_id) >= config.min_containment:
                similar.setdefault(content_id, {}).setdefault(pair.other(content_id), pair)
    found: dict[str, list[Copy]] = {content_id: [] for content_id in best if content_id not in near}
    for row in [*(one.row for one in rejected if _lends_text(one)), *(best[content_id] for content_id in near)]:
        content_id = content_of(row)
        if content_id in found:
            found[content_id].append(Copy(row))
        for kept, pair in similar.get(content_id, {}).items():
            if kept in found:
                found[kept].append(Copy(row, pair))
    for copies in found.values():
        copies.sort(key=lambda copy: (copy.pair is not None, rank(copy.row, config.prefer)))
    return found


def _lends_text(rejected: _Rejected) -> bool:
    """Return whether the text of a rejected item may be used: the file can be, and its license allows it."""
    return rejected.row.reason is None and rejected.rejection.reason is not Reason.LICENSE


def _drop_duplicates(
    ordered: Iterable[SurveyRow], config: SelectConfig
) -> tuple[dict[str, SurveyRow], list[_Rejected]]:
    """Return the best row of each content_id, and the rejected rows; `ordered` has better rows first."""
    best: dict[str, SurveyRow] = {}
    rejected: list[_Rejected] = []
    for row in ordered:
        content_id = content_of(row)
        if rejection := judge(row, config):
            rejected.append(_Rejected(row, rejection))
        elif first := best.get(content_id):
            same = "bytes" if first.document_id == row.document_id else "content"
            rejected.append(_Rejected(row, Rejection(Reason.DUPLICATE, f"same {same} as {first.uri}"), content_id))
        else:
            best[content_id] = row
    return best, rejected


def content_of(row: SurveyRow) -> str:
    """Return what identifies the content of a row; an item that could not be read has its address only."""
    return row.content_id or row.identity


def _keep(row: SurveyRow, kept: Mapping[str, Rank], pairs: Sequence[Pair], split: str) -> SurveyRow:
    """Return a kept row with its split, and with the passages that are removed from it."""
    passages = [
        Cut(start=start, end=end, reason=Reason.NEAR_DUPLICATE.value, detail=f"{other} contains this passage")
        for start, end, other in duplicate_passages(content_of(row), kept, pairs)
    ]
    cuts = tuple(sorted([*row.cuts, *passages], key=lambda cut: (cut.start, cut.end)))
    return replace(row, cuts=cuts, split=split, kept_content_id=None, reason=None, detail=None)


def _near_duplicate(content_id: str, pair: Pair, uri: str) -> str:
    share = f"{uri} contains {pair.containment_of(content_id):.0%} of it"
    return f"{share} with a similarity of {pair.similarity:.0%}"


def _book_pairs(pairs: Iterable[Pair], config: KeepConfig) -> Mapping[str, Sequence[Pair]]:
    """Return, by content_id, the pairs of books that decide which passages are removed."""
    found: dict[str, list[Pair]] = {}
    for pair in pairs:
        if config.remove_near_duplicates and pair.kind == "book" and pair.similarity >= config.min_similarity:
            for content_id in (pair.a, pair.b):
                found.setdefault(content_id, []).append(pair)
    return found


@dataclass(frozen=True)
class Clusters:
    """The clusters of items that share content, and the pairs in each of them."""

    cluster: Mapping[str, str]  # by content_id: the smallest content_id of its cluster
    pairs: Mapping[str, Sequence[Pair]]  # by cluster

    @classmethod
    def of(cls, pairs: Iterable[Pair], config: KeepConfig) -> Clusters:
        """Return the clusters of those pairs that share enough content."""
        related = [pair for pair in pairs if is_related(pair, config)]
        cluster = clusters((pair.a, pair.b) for pair in related)
        grouped: dict[str, list[Pair]] = {}
        for pair in related:
            grouped.setdefault(cluster[pair.a], []).append(pair)
        return cls(cluster, grouped)

    def join(self, row: SurveyRow) -> SurveyRow:
        """Return a surveyed row with its cluster; an item without content is a cluster of its own."""
        content_id = content_of(row)
        return replace(row, content_id=content_id, cluster=self.cluster_of(content_id))

    def cluster_of(self, content_id: str) -> str:
        """Return the smallest content_id of the cluster that an item belongs to."""
        return self.cluster.get(content_id, content_id)
