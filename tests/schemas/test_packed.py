from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.errors import ConfigError, DatasetError
from schemas.packed import ATTENTIONS, SPAN_DTYPE, Attention, Expanded, _are_valid, _problem, check_spans, expand
from schemas.vocab import TEXT, VISION

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


def expand_with_a_loop(spans: np.ndarray, length: int, attention: Attention) -> Expanded:
    segment, position, vision, weight = ([0] * length for _ in range(4))
    chunks: dict[int, int] = {}  # tokens of each seen so far
    for start, n, document, modality, w in spans.tolist():
        for i in range(start, start + n):
            nth = chunks.get(document, 0)
            segment[i] = document + 1 if attention == "document" else 1
            position[i] = nth if attention == "document" else i
            vision[i], weight[i] = modality, w if nth else 0
            chunks[document] = nth + 1
    types = (np.int32, np.int32, np.bool_, np.float32)
    return Expanded(*(np.array(x, t) for x, t in zip((segment, position, vision, weight), types, strict=True)))


def assert_same(got: Expanded, expected: Expanded) -> None:
    for name, ours, theirs in zip(Expanded._fields, got, expected, strict=True):
        assert ours.dtype == theirs.dtype, name
        assert ours.tolist() == theirs.tolist(), name


@given(spans_strategy, st.integers(0, 5), st.sampled_from(ATTENTIONS))
@settings(deadline=None)
def test_expand_equals_a_loop_over_tokens(
    parts: list[tuple[int, bool, int, float]], padding: int, attention: Attention
) -> None:
    spans = make_spans(parts)
    length = int(spans["length"].sum()) + padding
    assert_same(expand(spans, length, attention=attention), expand_with_a_loop(spans, length, attention))


@given(spans_strategy, st.integers(0, 5), st.sampled_from(ATTENTIONS), st.data())
@settings(deadline=None)
def test_expand_of_ranges_equals_these_ranges_of_the_whole(
    parts: list[tuple[int, bool, int, float]], padding: int, attention: Attention, data: st.DataObject
) -> None:
    spans = make_spans(parts)
    length = int(spans["length"].sum()) + padding
    edges = sorted(data.draw(st.lists(st.integers(0, length), max_size=10)))  # ranges may touch, and may be empty
    ranges = np.array(edges[: len(edges) // 2 * 2], np.int64).reshape(-1, 2)
    inside = np.zeros(length, np.bool_)
    for start, end in ranges:
        inside[start:end] = True
    whole = expand(spans, length, attention=attention)
    assert_same(expand(spans, length, attention=attention, ranges=ranges), Expanded(*(x[inside] for x in whole)))


def test_many_short_documents_are_expanded() -> None:
    spans = make_spans([(1, True, 0, 1.0)] * 1000)
    assert_same(expand(spans, 1024), expand_with_a_loop(spans, 1024, "document"))


def test_an_unknown_attention_is_rejected() -> None:
    with pytest.raises(ConfigError, match="attention must be one of document, sequence, got 'shard'"):
        expand(make_spans([]), 8, attention="shard")  # type: ignore[arg-type]


@given(spans_strategy)
@settings(deadline=None)
def test_valid_spans_pass_the_check(parts: list[tuple[int, bool, int, float]]) -> None:
    spans = make_spans(parts)
    documents = len(np.unique(spans["document"]))
    check_spans(spans, length=int(spans["length"].sum()), documents=documents, where="here")


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("start", 3, "overlap or leave a gap"),
        ("length", 0, "has no tokens"),
        ("length", 900, "overlap or leave a gap"),
        ("document", 5, "document numbers \\[0, 5, 1\\] are not 0..1 in order"),
        ("document", -1, "document numbers"),
        ("modality", 2, "unknown modality"),
        ("weight", -1, "negative or not finite"),
        ("weight", np.nan, "negative or not finite"),
    ],
)
def test_the_error_for_an_invalid_span_names_the_rule(field: str, value: float, message: str) -> None:
    spans = make_spans([(4, True, 0, 1.0), (6, False, 1, 1.0), (5, True, 0, 1.0)])
    spans[field][1] = value
    with pytest.raises(DatasetError, match=message):
        check_spans(spans, length=32, documents=2, where="train-000000000")


def test_spans_longer_than_the_sequence_are_rejected() -> None:
    with pytest.raises(DatasetError, match="cover 15 tokens of a sequence of 14"):
        check_spans(make_spans([(15, True, 0, 1.0)]), length=14, documents=1, where="x")


def test_a_missing_last_document_is_rejected() -> None:
    with pytest.raises(DatasetError, match=r"document numbers \[0\] are not 0..1 in order"):
        check_spans(make_spans([(15, True, 0, 1.0)]), length=32, documents=2, where="x")
    with pytest.raises(DatasetError, match=r"document numbers \[\] are not 0..1 in order"):
        check_spans(make_spans([]), length=32, documents=2, where="x")


@given(
    values=st.lists(
        st.tuples(
            st.sampled_from([-1, 0, 1, 2, 3, 4]),
            st.sampled_from([-1, 0, 1, 2]),
            st.sampled_from([-1, 0, 1, 2]),
            st.sampled_from([-1, TEXT, VISION, 2]),
            st.sampled_from([-1.0, 0.0, 1.0, np.inf, np.nan]),
        ),
        max_size=3,
    ),
    lengths=st.lists(st.integers(1, 2), max_size=3),
    is_valid=st.booleans(),
)
def test_few_spans_are_judged_like_many(
    values: list[tuple[int, int, int, int, float]], lengths: list[int], is_valid: bool
) -> None:
    ends = np.cumsum([0, *lengths]).tolist()
    valid = [(start, count, i // 2, TEXT, 1.0) for i, (start, count) in enumerate(zip(ends, lengths, strict=False))]
    spans = np.array(valid if is_valid else values, SPAN_DTYPE)
    for length in (3, 100):
        for documents in range(3):
            assert _are_valid(spans.tolist(), length, documents) == (_problem(spans, length, documents) is None)
