from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from pipeline.packing.config import PackConfig
from pipeline.packing.loss_weights import document_weights, targets_of
from schemas.packed import expand
from schemas.records import TOKENS
from schemas.vocab import TEXT, VISION
from tests.support.packing.local_packing import CONTEXT
from tests.support.packing.packing_cases import (
    DOCUMENTS,
    pack,
    samples,
)
from tests.support.token_stores import VOCABULARY, book, qa, video


def weighted_loss(directory: Path, losses: dict[str, np.ndarray]) -> float:
    """Return Σ w·ce / Σ w over all sequences; `losses` maps document ids to the cross-entropy of each token."""
    total = weight = 0.0
    for sample in samples(directory, "train"):
        weights = expand(sample["spans.npy"], CONTEXT).weights.astype(np.float64)
        chunks = [losses[p["id"]][p["start"] : p["start"] + p["length"]] for p in sample["json"]["documents"]]
        ce = np.concatenate([*chunks, np.zeros(CONTEXT)])[:CONTEXT]
        total, weight = total + float(weights @ ce), weight + float(weights.sum())
    return total / weight


@pytest.mark.parametrize(("text", "vision"), [(1.0, 1.0), (3.0, 0.5), (0.0, 1.0)])
def test_document_weights_give_the_loss_of_unpacked_padded_documents(
    tmp_path: Path, text: float, vision: float
) -> None:
    documents = [video(f"v{i}", [i + 1], cue=2 * i + 1) for i in range(8)]  # none is cut
    config = PackConfig(loss_weighting="document", text_weight=text, vision_weight=vision)
    rng = np.random.default_rng(0)
    losses = {d.id: rng.random(len(d.tokens)) for d in documents}
    # One document per row; the loss of a row is the weighted sum over its targets divided by their number.
    multiplier = {d.id: np.where(VOCABULARY.is_vision(d.tokens), vision, text)[1:] for d in documents}
    sums = [(multiplier[d.id] @ losses[d.id][1:], multiplier[d.id].sum(), len(d.tokens) - 1) for d in documents]
    unpacked = sum(ce / n for ce, _, n in sums) / sum(w / n for _, w, n in sums)
    assert weighted_loss(pack(tmp_path, config, documents), losses) == pytest.approx(unpacked, rel=1e-6)


def test_the_chunks_of_a_cut_document_share_its_weight(tmp_path: Path) -> None:
    documents = [video("long", [40]), book("b", 150), video("short", [2])]
    directory = pack(tmp_path, PackConfig(loss_weighting="document"), documents)
    for chosen in documents:
        losses = {d.id: np.full(len(d.tokens), float(d is chosen)) for d in documents}
        assert weighted_loss(directory, losses) == pytest.approx(1 / 3, rel=1e-6)


def test_token_weights_are_equal_within_a_modality(tmp_path: Path) -> None:
    directory = pack(tmp_path, PackConfig(text_weight=2.0))
    for sample in samples(directory, "train"):
        spans = sample["spans.npy"]
        assert set(spans["weight"][spans["modality"] == VISION].tolist()) <= {1.0}
        assert set(spans["weight"][spans["modality"] == TEXT].tolist()) <= {2.0}


def test_the_mean_document_weight_is_one_except_for_targets_lost_to_cuts(tmp_path: Path) -> None:
    whole = [d for d in DOCUMENTS if d.kind != "book" and len(d.tokens) <= CONTEXT]
    for name, documents, exact in (("whole", whole, 1e-5), ("cut", DOCUMENTS, 0.03)):
        directory = pack(tmp_path / name, PackConfig(loss_weighting="document"), documents)
        inputs = [expand(sample["spans.npy"], CONTEXT) for sample in samples(directory, "train")]
        targets = np.concatenate([(i.segment_ids > 0) & (i.positions > 0) for i in inputs])
        assert np.concatenate([i.weights for i in inputs])[targets].mean() == pytest.approx(1, rel=exact)


def test_targets_are_weighted_by_span_and_exclude_the_first_token() -> None:
    documents = [book("book", 30), qa("qa", [(3, 4), (5, 2)]), video("video", [2])]
    table = pa.Table.from_pylist([d.row() for d in documents], TOKENS)
    # Only the answers, 4 + 2 tokens, are targets of the second document.
    assert targets_of(table).tolist() == [29, 6, len(documents[2].tokens) - 1]


def test_the_weights_of_a_document_sum_to_the_mean_number_of_targets() -> None:
    table = pa.Table.from_pylist([book("a", 11).row(), book("b", 5).row()], TOKENS)
    document, start = np.array([0, 0, 1]), np.array([0, 6, 0])
    weights = document_weights(table, document, np.zeros(3, np.int64), start, mean_targets=7.0)
    assert weights.tolist() == [7 / 9, 7 / 9, 7 / 4]  # the cut at 6 leaves 5 + 4 targets
