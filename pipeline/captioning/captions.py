"""Asks a model for captions, checks them, and writes a manifest with them.

    item ──► frames ──► model (cached) ──► filters ──► OUT/captions.jsonl, OUT/manifest.jsonl, OUT/summary.json

The manifest has every item with what was known about it, so it replaces the inputs of `longreel run`. Replies are kept
one by one in OUT/replies.jsonl by the content of the frames, so nothing is asked twice. An item that cannot be reached
keeps the caption of an earlier run.
"""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from pipeline.captioning.config import CaptionConfig
from pipeline.captioning.frames import shown_frames
from pipeline.language_models.budget import BudgetedModel, BudgetSpent
from pipeline.language_models.cached import CachedModel
from pipeline.language_models.chat import ChatModel, ChatRequest, Message, RequestRefused
from pipeline.language_models.parallel import in_parallel
from pipeline.language_models.refusals import is_refusal
from pipeline.sources.access import AccessConfig
from pipeline.sources.inputs import hash_input, local_file
from schemas.errors import TEMPORARY, InputError
from schemas.files import write_json, write_text
from schemas.record_errors import record_errors
from schemas.rows import ManifestItem
from schemas.storage.location import located

CAPTIONS, MANIFEST, SUMMARY, REPLIES = "captions.jsonl", "manifest.jsonl", "summary.json", "replies.jsonl"
_COLUMNS = ("uri", "kind", "caption_file", "transcript", "transcript_language", "title", "source", "license", "split")


class Rejection(StrEnum):
    """Why there is no caption."""

    UNREADABLE = "unreadable"
    """The file cannot be read or decoded."""
    REFUSED_REQUEST = "refused_request"
    """The server refused the request."""
    BLANK = "blank"
    """The reply is blank."""
    CUT_OFF = "cut_off"
    """The reply was longer than the maximum."""
    REFUSAL = "refusal"
    """The model says that it cannot answer."""


@dataclass(frozen=True, kw_only=True)
class Caption:
    """The caption of one item, and where it comes from."""

    uri: str
    sha256: str | None = None  # of the file
    model: str
    prompt_sha256: str | None = None  # of everything that the reply depends on
    times: tuple[float, ...] = ()  # of the frames that the model saw, in seconds
    caption: str = ""
    rejection: Rejection | None = None
    detail: str | None = None


def caption_items(
    items: Sequence[ManifestItem],
    model: ChatModel,
    out: Path,
    config: CaptionConfig,
    *,
    concurrency: int = 1,
    access: AccessConfig,
    progress: Callable[[int], None] = lambda done: None,
) -> dict[str, Any]:
    """Ask about the items without captions, write captions and manifest to `out`, and return the summary.

    Raises JobError if the model cannot be reached.
    """
    earlier = _earlier(out / CAPTIONS)
    write_text(out / CAPTIONS, "".join(map(_line, earlier.values())))  # makes the folder
    asked = [item for item in items if needs_caption(item)]
    budgeted = BudgetedModel(model, config.max_requests)
    kept = CachedModel(budgeted, out / REPLIES)
    found = dict(
        in_parallel(
            lambda one: _caption(one, kept, config, access, earlier.get(one.uri)),
            asked,
            concurrency=concurrency,
            progress=progress,
        )
    )
    captions = [caption for _, caption in sorted(found.items()) if caption is not None]
    write_text(out / CAPTIONS, "".join(map(_line, captions)))
    by_uri = {caption.uri: caption for caption in captions}
    rows = (_row(item, by_uri.get(item.uri)) for item in items)
    write_text(out / MANIFEST, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    summary = _summarize(model.name, items, asked, captions, budgeted)
    write_json(out / SUMMARY, summary)
    return summary


def needs_caption(item: ManifestItem) -> bool:
    """Return whether a caption is asked for: for videos and images that have none."""
    return item.kind in ("video", "image") and not item.captions and item.caption_file is None


def _earlier(path: Path) -> dict[str, Caption]:
    """Return the captions of an earlier run, by URI."""
    found: dict[str, Caption] = {}
    for line in located(path).read().splitlines() if path.exists() else ():
        with contextlib.suppress(ValueError, TypeError, KeyError):  # of something else
            row = json.loads(line)
            if row["rejection"] is None:
                found[row["uri"]] = Caption(**{**row, "times": tuple(row["times"])})
    return found


def _line(caption: Caption) -> str:
    return json.dumps(asdict(caption), ensure_ascii=False) + "\n"


def _caption(
    item: ManifestItem, model: ChatModel, config: CaptionConfig, access: AccessConfig, earlier: Caption | None
) -> Caption | None:
    """Return the caption, or why there is none; None if the budget is spent."""
    caption = Caption(uri=item.uri, model=model.name)
    try:
        with (
            record_errors(item.uri),
            local_file(item.uri, access=access) as path,
            shown_frames(path, config) as (frames, times),
        ):
            question = config.question(item.kind, len(frames))
            request = ChatRequest(
                messages=(Message("user", (question, *frames)),),
                max_tokens=config.max_tokens,
                temperature=config.temperature,
                seed=config.seed,
            )
            caption = replace(
                caption,
                sha256=hash_input(path, item.uri),
                prompt_sha256=request.digest(),
                times=tuple(round(at, 3) for at in times),
            )
            reply = model.ask(request)
    except InputError as e:
        if earlier is not None and e.reason in TEMPORARY:
            return earlier
        return replace(caption, rejection=Rejection.UNREADABLE, detail=str(e))
    except RequestRefused as e:
        return replace(caption, rejection=Rejection.REFUSED_REQUEST, detail=str(e))
    except BudgetSpent:
        return None
    text = " ".join(reply.text.split())
    return replace(caption, caption=text, rejection=_reject(text, reply.finish_reason))


def _reject(text: str, finish_reason: str) -> Rejection | None:
    if not text:
        return Rejection.BLANK
    if finish_reason == "length":
        return Rejection.CUT_OFF
    return Rejection.REFUSAL if is_refusal(text) else None


def _row(item: ManifestItem, caption: Caption | None) -> dict[str, Any]:
    """Return the row of an item with what is known about it, and its caption if there is one."""
    values = {name: value for name in _COLUMNS if (value := getattr(item, name)) is not None}
    given = {} if item.metadata is None else json.loads(item.metadata)
    metadata = given if isinstance(given, dict) else {"given": given}
    captions = list(item.captions)
    if caption is not None and caption.rejection is None:
        captions.append(caption.caption)
        names = ("model", "prompt_sha256", "sha256", "times")
        metadata = {**metadata, "caption": {name: getattr(caption, name) for name in names}}
    values |= {"captions": captions} if captions else {}
    return values | ({"metadata": metadata} if metadata else {})


def _summarize(
    name: str,
    items: Sequence[ManifestItem],
    asked: Sequence[ManifestItem],
    captions: Sequence[Caption],
    budget: BudgetedModel,
) -> dict[str, Any]:
    reasons = Counter(caption.rejection.value for caption in captions if caption.rejection is not None)
    return {
        "model": name,
        "items": len(items),
        "without_caption": len(asked),
        "not_asked": len(asked) - len(captions),
        "kept": sum(caption.rejection is None for caption in captions),
        "rejected": {reason.value: reasons[reason.value] for reason in Rejection if reasons[reason.value]},
        **budget.usage(),
    }
