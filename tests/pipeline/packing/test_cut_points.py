from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.packing.cut_points import Spans, cut_at, cut_points, cut_video
from schemas.errors import ConfigError, DatasetError
from schemas.vocab import VISION
from tests.support.packing.packing_cases import (
    packed_plan,
)
from tests.support.token_stores import FRAME, video


@given(length=st.integers(1, 100), frames=st.integers(1, 30), context=st.integers(16, 60))
@settings(deadline=None, max_examples=40)
def test_a_text_span_has_cut_points_only_if_it_exceeds_the_context(length: int, frames: int, context: int) -> None:
    spans = Spans(
        np.array([0, length, length + FRAME * frames]),
        np.array([length, FRAME * frames, 2]),
        np.array([0, 1, 0], np.int8),
    )
    points = cut_points(spans, frame_tokens=FRAME, context_length=context, where="test")
    inside = points[points < length]
    assert len(inside) == (length - 1 if length > context else 0)
    assert np.array_equal(points[points >= length][: frames + 1], length + FRAME * np.arange(frames + 1))


def test_a_frame_longer_than_the_context_raises() -> None:
    with pytest.raises(ConfigError, match=r"context_length 16 is shorter than one frame of document .* \(20 tokens\)"):
        packed_plan([video("big", [2], frame=20)], 16)


def test_a_vision_span_of_incomplete_frames_raises() -> None:
    spans = Spans(np.array([0]), np.array([7]), np.array([VISION], np.int8))
    with pytest.raises(DatasetError, match=r"clip: the length of a vision span is not a multiple of 5 tokens"):
        cut_points(spans, frame_tokens=5, context_length=64, where="clip")


@given(frames=st.integers(1, 40), tail=st.integers(1, 3), context=st.integers(16, 60))
def test_chunks_cover_the_video_and_are_as_long_as_frames_allow(frames: int, tail: int, context: int) -> None:
    points = np.append(FRAME * np.arange(1, frames + 1), FRAME * frames + tail)
    chunks = cut_video(points, context_length=context, where="clip")
    assert [start for start, _ in chunks] == [0, *(start + length for start, length in chunks[:-1])]
    assert sum(length for _, length in chunks) == points[-1]
    assert all(2 <= length <= context for _, length in chunks)
    assert all(length > context - 2 * FRAME for _, length in chunks[:-1])


def test_a_cut_leaves_no_chunk_of_one_token() -> None:
    points = np.array([5, 10, 11])
    assert cut_at(points, 0, 10) == 5  # a cut at 10 would leave one token
    assert cut_at(points, 0, 11) == 11
    assert cut_at(points, 10, 5) is None


def test_a_video_without_a_cut_point_in_reach_raises() -> None:
    with pytest.raises(ConfigError, match="context_length 16 is too short to cut clip between frames"):
        cut_video(np.array([20, 40]), context_length=16, where="clip")
