"""A transcript is shifted, and restricted to the time of a video."""

from __future__ import annotations

from pipeline.text.transcripts.cues import Cue, Transcript

CUES = {
    "before": (-2.0, -1.0),
    "ends at the start": (-1.0, 0.0),
    "across the start": (-1.0, 1.5),
    "at the start without duration": (0.0, 0.0),
    "within": (2.0, 3.0),
    "across the end": (5.0, 9.0),
    "longer than the video": (-1.0, 9.0),
    "starts at the end": (6.0, 7.0),
    "after": (8.0, 9.0),
}


def test_cues_that_overlap_the_video_are_kept_and_the_others_counted() -> None:
    found = Transcript(tuple(Cue(*times, text) for text, times in CUES.items()), {"out of order": 1}).within(6.0)
    assert {cue.text: (cue.start_s, cue.end_s) for cue in found.cues} == {
        "across the start": (0.0, 1.5),
        "at the start without duration": (0.0, 0.0),
        "within": (2.0, 3.0),
        "across the end": (5.0, 6.0),
        "longer than the video": (0.0, 6.0),
    }
    assert found.outside == 4
    assert found.summary == "4 outside the video, 1 out of order, 3 cut to the time of the video"


def test_a_shift_moves_all_times() -> None:
    transcript = Transcript((Cue(3.0, 4.0, "a"), Cue(3.5, 6.0, "b")), {"overlapping": 1})
    assert transcript.shifted(-2.5) == Transcript((Cue(0.5, 1.5, "a"), Cue(1.0, 3.5, "b")), {"overlapping": 1})


def test_an_unchanged_transcript_has_no_summary() -> None:
    assert Transcript((Cue(0.0, 1.0, "a"),)).within(2.0).summary == ""
