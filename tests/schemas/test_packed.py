from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.errors import DatasetError
from schemas.packed import SPAN_DTYPE, check_spans, expand

spans_strategy = st.lists(
    st.tuples(st.integers(1, 20), st.booleans(), st.integers(0, 1), st.floats(0, 4, width=32)), max_size=12
)


def make_spans(parts: list[tuple[int, bool, int, float]]) -> np.ndarray:
    rows, start, document = [], 0, -1
    for length, begins, modality, weight in parts:
        document += begins or document < 0
        rows.append((start, length, document, modality, weight))
        start += length
    return np.array(rows, SPAN_DTYPE)


@given(spans_strategy, st.integers(0, 5))
@settings(deadline=None)
def test_expanding_gives_what_a_plain_loop_gives(parts: list[tuple[int, bool, int, float]], padding: int) -> None:
    spans = make_spans(parts)
    length = int(spans["length"].sum()) + padding
    got = expand(spans, length)
    segment, position, vision, weight = ([0] * length for _ in range(4))
    seen: dict[int, int] = {}
    for start, n, document, modality, w in spans.tolist():
        for i in range(start, start + n):
            segment[i], position[i], vision[i] = document + 1, seen.get(document, 0), modality
            weight[i] = w if position[i] else 0
            seen[document] = position[i] + 1
    assert got.segment_ids.tolist() == segment
    assert got.positions.tolist() == position
    assert got.vision.astype(int).tolist() == vision
    assert np.array_equal(got.weights, np.array(weight, np.float32))


@given(spans_strategy)
@settings(deadline=None)
def test_well_formed_spans_pass_the_check(parts: list[tuple[int, bool, int, float]]) -> None:
    spans = make_spans(parts)
    documents = len(np.unique(spans["document"]))
    check_spans(spans, length=int(spans["length"].sum()), documents=documents, where="here")


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("start", 3, "overlap or leave a gap"),
        ("length", 0, "has no tokens"),
        ("length", 900, "overlap or leave a gap"),
        ("document", 5, "document numbers"),
        ("modality", 2, "unknown modality"),
        ("weight", -1, "negative or not finite"),
        ("weight", np.nan, "negative or not finite"),
    ],
)
def test_a_wrong_span_is_named(field: str, value: float, message: str) -> None:
    spans = make_spans([(4, True, 0, 1.0), (6, False, 1, 1.0), (5, True, 0, 1.0)])
    spans[field][1] = value
    with pytest.raises(DatasetError, match=message):
        check_spans(spans, length=32, documents=2, where="train-000000000")


def test_spans_longer_than_the_sequence_are_refused() -> None:
    with pytest.raises(DatasetError, match="cover 15 tokens of a sequence of 14"):
        check_spans(make_spans([(15, True, 0, 1.0)]), length=14, documents=1, where="x")
