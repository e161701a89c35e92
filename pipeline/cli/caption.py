"""The command `caption`: captions of videos and images, written by a model that sees some of their frames."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar

from rich.table import Table
from tyro.conf import OmitArgPrefixes, arg

from pipeline.captioning.captions import MANIFEST, caption_items, needs_caption
from pipeline.captioning.config import CaptionConfig
from pipeline.cli.evaluation import Subject
from pipeline.cli.place import FLAT, Inputs
from pipeline.runtime.progress import output
from pipeline.sources.access import AccessConfig
from pipeline.sources.links import with_given
from pipeline.sources.manifest import read_valid_items
from schemas.counted import counted
from schemas.runs.count_progress import CountProgress
from schemas.runs.folder_lock import locked_folder
from schemas.runs.messages import messages


@dataclass(frozen=True, kw_only=True)
class Caption:
    """Let a model that sees some frames of each video or image write captions for those that have none.

    The model is behind a server with OpenAI's interface that understands `image_url`. OUT/manifest.jsonl has all items
    with their captions, and is an input of `longreel run` in place of the inputs. The same command continues, and asks
    nothing twice. See docs/generated_data.md.
    """

    RECORD: ClassVar = "out"

    inputs: Inputs
    """Folders of videos and images, single files, or manifests."""
    dry_run: bool = False
    """Print the number of requests, and ask nothing."""
    captioning: Annotated[CaptionConfig, OmitArgPrefixes] = field(default_factory=CaptionConfig)
    access: Annotated[AccessConfig, FLAT] = field(default_factory=AccessConfig)
    subject: Annotated[Subject, arg(name="")]

    def __call__(self, options: tuple[str, ...]) -> None:
        """Ask, and print how many captions were kept."""
        access = with_given(self.access, self.inputs)
        items = read_valid_items(self.inputs, messages.info, access)
        total = sum(map(needs_caption, items))
        if self.dry_run:
            output().print(f"{counted(len(items), 'item')}, {total:,} without a caption: as many requests")
            return
        model, count = self.subject.load(), CountProgress("caption", total, "items")
        with locked_folder(self.subject.out):
            summary = caption_items(
                items,
                model,
                self.subject.out,
                self.captioning,
                concurrency=self.subject.concurrency,
                access=access,
                progress=count.show,
            )
        count.close(total)
        self._print(summary)

    def _print(self, summary: dict[str, Any]) -> None:
        table = Table("captions", "count")
        rows = {"kept": summary["kept"], **summary["rejected"], "not asked (--max-requests)": summary["not_asked"]}
        for name, count in rows.items():
            if count or name == "kept":
                table.add_row(name, f"{count:,}")
        output().print(table)
        messages.info(
            f"caption: {counted(summary['requests'], 'request')} in this run, "
            f"{summary['prompt_tokens']:,} prompt tokens, "
            f"{summary['reply_tokens']:,} reply tokens; {self.subject.out / MANIFEST}",
        )
