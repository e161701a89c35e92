from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from pipeline.kinds.registry import names_of_text_kinds
from pipeline.packing.chunks import documents_of
from pipeline.packing.config import PackConfig
from pipeline.packing.mixture import Mixture
from schemas.dataset import LEFT_OUT, LONG, SHORT
from schemas.errors import ConfigError
from schemas.records import TOKENS
from tests.support.packing.local_packing import make_jobs
from tests.support.token_stores import StoredDocument, book, image, qa, video

DOCUMENTS = [
    *(book(f"book {i}", 60 + i % 50, split="val" if i % 10 == 9 else "train") for i in range(300)),
    *(video(f"video {i}", [4], split="val" if i % 10 == 9 else "train") for i in range(300)),
]


def table_of(documents: list[StoredDocument], source: str | None = None) -> pa.Table:
    return pa.Table.from_pylist([d.row() | {"source": source} for d in documents], TOKENS)


def copies(mixture: Mixture, documents: list[StoredDocument] = DOCUMENTS, **changes: Any) -> dict[str, int]:
    """Return the number of copies of each document by id."""
    options = {"context_length": 512, "text_factor": 1.0, "seed": 0, "source": None} | changes
    found = documents_of(table_of(documents, options.pop("source")))
    counts, _ = mixture.copies(found.table, found.draw, **options)
    return dict(zip(found.table["document_id"].to_pylist(), counts.tolist(), strict=True))


def of(found: dict[str, int], kind: str, split: str = "train") -> list[int]:
    return [found[d.id] for d in DOCUMENTS if d.kind == kind and d.split == split]


def test_every_document_is_packed_once_by_default() -> None:
    assert set(copies(Mixture()).values()) == {1}


def test_integer_epochs_are_copies_and_fractions_sample_documents() -> None:
    found = copies(Mixture(kind_epochs={"book": 2.0, "video": 1.5}))
    assert set(of(found, "book")) == {2}
    assert set(of(found, "video")) == {1, 2}
    assert np.mean(of(found, "video")) == pytest.approx(1.5, abs=0.1)
    none = copies(Mixture(kind_epochs={"book": 0.0, "video": 0.25}))
    assert set(of(none, "book")) == {0}
    assert np.mean(of(none, "video")) == pytest.approx(0.25, abs=0.08)


def test_epochs_of_kind_source_and_text_multiply() -> None:
    mixture = Mixture(kind_epochs={"book": 2.0}, source_epochs={"archive": 3.0})
    assert set(of(copies(mixture, source="archive"), "book")) == {6}
    assert set(of(copies(mixture, source="archive"), "video")) == {3}
    assert set(of(copies(mixture, source="elsewhere"), "book")) == {2}
    assert set(of(copies(mixture, source="archive", text_factor=0.5), "book")) == {3}


def test_held_out_documents_are_packed_once_unless_their_kind_is_excluded() -> None:
    found = copies(Mixture(kind_epochs={"book": 0.1, "video": 5.0}), text_factor=9.0)
    assert set(of(found, "book", "val")) == set(of(found, "video", "val")) == {1}
    assert set(of(copies(Mixture(kind_epochs={"video": 0.0})), "video", "val")) == {0}


def test_sampling_depends_only_on_the_seed_and_the_document() -> None:
    mixture = Mixture(kind_epochs={"book": 0.5, "video": 0.5})
    first = copies(mixture)
    assert copies(mixture, DOCUMENTS[::-1]) == first
    assert copies(mixture, DOCUMENTS[:50]).items() <= first.items()
    assert copies(mixture, seed=1) != first


def test_a_larger_fraction_includes_the_sample_of_a_smaller_one() -> None:
    less, more = (copies(Mixture(kind_epochs={"book": e})) for e in (0.3, 0.6))
    assert all(more[i] >= n for i, n in less.items())


def test_excluded_documents_are_counted_by_reason() -> None:
    documents = [
        book("long", 100),
        book("short", 11),
        StoredDocument("empty", "book", [(0, np.ones(0), None, None)], facts={"spans": []}),
        qa("too long", [(4, 5)], context=600),
        image("unwanted"),
    ]
    found = documents_of(table_of(documents))
    mixture = Mixture(kind_epochs={"image": 0.0}, min_tokens=12)
    counts, out = mixture.copies(found.table, found.draw, context_length=512, text_factor=1.0, seed=0)
    assert out == {"empty": 1, LONG: 1, SHORT: 1, LEFT_OUT: 1}
    assert counts.sum() + sum(out.values()) == len(documents)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_text_has_the_requested_share_of_tokens(share: float) -> None:
    made, jobs = make_jobs(
        [table_of(DOCUMENTS)], PackConfig(mixture=Mixture(text_share=share, kind_epochs={"video": 2.0}))
    )
    kinds = [np.array(job.documents["kind"].to_pylist())[job.chunks.document] for job in jobs if job.split == "train"]
    lengths = [job.chunks.length for job in jobs if job.split == "train"]
    is_text = np.isin(np.concatenate(kinds), names_of_text_kinds())
    found = np.concatenate(lengths)[is_text].sum() / np.concatenate(lengths).sum()
    assert found == pytest.approx(share, abs=0.02)
    assert made.splits["val"].documents == 60


def test_an_unreachable_text_share_raises() -> None:
    with pytest.raises(ConfigError, match=r"text_share 0\.5 cannot be reached: no book is left"):
        make_jobs([table_of([video("v", [2])])], PackConfig(mixture=Mixture(text_share=0.5)))
    with pytest.raises(ConfigError, match="no video or image is left"):
        make_jobs([table_of([book("b", 60)])], PackConfig(mixture=Mixture(text_share=0.5)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind_epochs": {"film": 1.0}}, "kind_epochs names the kind 'film'; known are video, image, book, qa"),
        ({"kind_epochs": {"book": -1.0}}, r"kind_epochs of 'book' must lie in 0\.\.1000, got -1.0"),
        ({"source_epochs": {"x": float("nan")}}, "source_epochs of 'x' must lie"),
        ({"text_share": 1.0}, "text_share must be at least 0 and below 1, got 1.0"),
        ({"min_tokens": 0}, "min_tokens must be at least 1, got 0"),
    ],
)
def test_invalid_options_raise(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Mixture(**options)
