"""The text of duplicates: what a kept item takes over from the copies that are rejected in its favor.

A kept item keeps its own text. What it does not have comes from the first of its copies, best first, that has it:

    captions                  of a copy with the same content, or of a near-duplicate that is the whole item
    transcript                of a copy with the same content, or of a near-duplicate at a constant shift in time
    title, metadata           of a copy with the same content
    license and source        together, of the copies with the same content, if all that have a license agree

A caption of a part does not describe the whole. The times of a transcript, which count from the start of the copy's
container, are shifted to the first frame of the kept item; if the shared ranges of the two do not have one shift (other
speed, other order of scenes), the transcript is not used. Subtitles inside of a file are used only for the same bytes.
What is not used is stated for the copy that has it.

Every time is known to the distance of two sampled frames, so a shift below one second counts as none.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace

from pipeline.dedup.pairs import Pair
from pipeline.kinds.registry import kind_of
from schemas.rows import EMBEDDED, SurveyRow

_RESOLUTION_S = 1.0  # twice the distance of sampled frames
_SPEED = 0.01  # relative difference of the lengths of a shared range, from which two videos have different speeds


@dataclass(frozen=True)
class Copy:
    """A rejected copy of a kept item: of the same content, or with the pair of the two."""

    row: SurveyRow
    pair: Pair | None = None

    def is_whole(self, kept: SurveyRow, min_containment: float) -> bool:
        """Return whether the copy contains the kept item."""
        return self.pair is None or self.pair.containment_of(kept.content_id or "") >= min_containment


@dataclass(frozen=True)
class Adopted:
    """A kept row with the text of its copies, and by address of a copy what of its text is not used, and why."""

    row: SurveyRow
    unused: dict[str, str]


def adopt_text(kept: SurveyRow, copies: Sequence[Copy], *, min_containment: float) -> Adopted:
    """Return the kept row with what its copies, best first, have and it does not."""
    row, unused = _with_facts(kept, [copy.row for copy in copies if copy.pair is None])
    kind = kind_of(kept.kind)
    for copy in copies:
        notes = unused.setdefault(copy.row.uri, [])
        if kind.takes_captions:
            row = _with_captions(row, kept, copy, min_containment, notes)
        if kind.takes_transcripts:
            row = _with_transcript(row, kept, copy, notes)
    return Adopted(row, {uri: "; ".join(notes) for uri, notes in unused.items() if notes})


def _with_facts(kept: SurveyRow, same: Sequence[SurveyRow]) -> tuple[SurveyRow, dict[str, list[str]]]:
    """Return the kept row with title, metadata, license and source of copies of the same content."""
    row, unused = kept, dict[str, list[str]]()
    licensed = [copy for copy in same if copy.license]
    if len({copy.license for copy in licensed}) == 1 and not (kept.license or kept.source):
        row = replace(row, license=licensed[0].license, source=licensed[0].source)
    for copy in licensed:
        if copy.license != row.license:
            kept_license = repr(row.license) if row.license else "unknown"
            unused[copy.uri] = [f"its license {copy.license!r} is not that of the kept copy ({kept_license})"]
    for copy in same:
        row = replace(row, title=row.title or copy.title, metadata=row.metadata or copy.metadata)
    return row, unused


def _with_captions(row: SurveyRow, kept: SurveyRow, copy: Copy, min_containment: float, notes: list[str]) -> SurveyRow:
    """Return the row with the captions of a copy, if it has none; add to `notes` why they are not used."""
    found = copy.row
    if not found.captions or found.captions == row.captions:
        return row
    if row.captions:
        notes.append("its captions are not used: the kept copy has others")
    elif not copy.is_whole(kept, min_containment):
        notes.append("its captions are not used: they describe a part of the kept copy")
    else:
        return replace(row, captions=found.captions, text_from=_with(row.text_from, found.uri))
    return row


def _with_transcript(row: SurveyRow, kept: SurveyRow, copy: Copy, notes: list[str]) -> SurveyRow:
    """Return the row with the transcript of a copy, if it has none; add to `notes` why it is not used."""
    found = copy.row
    if not found.transcript or _is_same_transcript(row, found):
        return row
    shift_s = _shift_s(kept, copy)
    if row.transcript:
        notes.append("its transcript is not used: the kept copy has another")
    elif shift_s is None:
        notes.append(f"its transcript is not used: {_no_shift(found)}")
    else:
        return replace(
            row,
            transcript=found.transcript,
            transcript_sha256=found.transcript_sha256,
            transcript_language=found.transcript_language,
            transcript_shift_s=shift_s - _start_s(found),
            text_from=_with(row.text_from, found.uri),
        )
    return row


def _start_s(row: SurveyRow) -> float:
    """Return the time of the first frame on the clock of the item's transcript."""
    return (row.visual and row.transcript != EMBEDDED and row.visual.start_s) or 0.0


def _with(uris: tuple[str, ...], uri: str) -> tuple[str, ...]:
    return uris if uri in uris else (*uris, uri)


def _is_same_transcript(row: SurveyRow, other: SurveyRow) -> bool:
    return row.transcript == other.transcript or (
        row.transcript_sha256 is not None and row.transcript_sha256 == other.transcript_sha256
    )


def _shift_s(kept: SurveyRow, copy: Copy) -> float | None:
    """Return what to add to the times of a copy's transcript, None if it cannot be used."""
    if copy.row.transcript == EMBEDDED:
        return 0.0 if copy.row.document_id == kept.document_id else None
    if copy.pair is None:
        return 0.0
    name = kept.content_id or ""
    of_kept, of_copy = (sorted(copy.pair.shared_ranges_of(i)) for i in (name, copy.pair.other(name)))
    if not of_kept or len(of_kept) != len(of_copy):
        return None
    shifts = []
    for (start, end), (copy_start, copy_end) in zip(of_kept, of_copy, strict=True):
        length, copy_length = end - start, copy_end - copy_start
        if abs(length - copy_length) > max(_RESOLUTION_S, _SPEED * max(length, copy_length)):
            return None
        shifts += [start - copy_start, end - copy_end]
    shift = statistics.median(shifts)
    if any(abs(other - shift) > _RESOLUTION_S for other in shifts):
        return None
    return 0.0 if abs(shift) < _RESOLUTION_S else shift


def _no_shift(row: SurveyRow) -> str:
    if row.transcript == EMBEDDED:
        return "it is inside of the file"
    return "its times do not have a constant shift to those of the kept copy"
