"""The model card of an export: README.md with data, licenses, losses, origin and hashes, from the files of the run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from schemas.files import write_text
from schemas.printable import printable
from trainer.published.files.writers import Written
from trainer.published.run_facts import DatasetFacts, RunFacts
from trainer.run.description import Description

CARD = "README.md"


def write_card(
    out: Path, *, about: Description, step: int, facts: RunFacts, files: Sequence[Written], parameters: int
) -> None:
    """Write the card of an export."""
    sections = [
        _model(about, step, parameters),
        *(_run(each) for each in facts.history if each.configuration),
        *(_origin(each) for each in facts.history if each.imported),
        _files(files),
    ]
    write_text(out / CARD, "\n".join(sections))


def _model(about: Description, step: int, parameters: int) -> str:
    model, vocabulary = about.model, about.vocabulary
    rows = {
        "parameters": f"{parameters:,}",
        "step": f"{step:,}",
        "longest document": f"{model.max_positions:,} tokens",
        "softmax": model.softmax,
        "text ids": f"0 to {vocabulary.text_size - 1}; tokenizer SHA-256 {vocabulary.text_sha256 or 'unknown'}",
    }
    if vocabulary.vision_size:
        last = vocabulary.eof - 1
        rows["vision ids"] = (
            f"{vocabulary.text_size} to {last} codes, {vocabulary.eof} end of a frame, {vocabulary.eov} end of a video"
            f"; tokenizer SHA-256 {vocabulary.vision_sha256 or 'unknown'}"
        )
    front = "---\nlibrary_name: transformers\ntags: [longreel]\n---\n"
    title = "# Model\n\nExported by Longreel. Sequences are text and, where there are vision ids, video frames.\n"
    return f"{front}\n{title}\n{_table(rows)}"


def _run(facts: RunFacts) -> str:
    options, rows = facts.configuration.get("config", {}), {}
    for name in ("steps", "batch_size", "seed"):
        if name in options:
            rows[name.replace("_", " ")] = str(options[name])
    if isinstance(optimizer := options.get("optimizer"), dict):
        rows["peak learning rate"] = str(optimizer.get("learning_rate"))
    if facts.train_loss is not None:
        rows["training loss of the last step"] = f"{facts.train_loss:.4f} nats per target"
    if facts.eval_losses:
        first, last = facts.eval_losses[0], facts.eval_losses[-1]
        rows["held-out loss, first and last"] = f"{first:.4f}, {last:.4f} nats per target"
    data = "\n".join(_dataset(each) for each in facts.datasets)
    return f"## Training run {_cell(facts.run.name)}\n\n{_table(rows)}\n{data}"


def _dataset(data: DatasetFacts) -> str:
    if data.card is None:
        return f"### Dataset {_cell(Path(data.path).name)}\n\nIts card could not be read when the model was exported.\n"
    train = data.card.splits.get("train")
    rows = {"fingerprint": data.card.fingerprint, "context": f"{data.card.context_length:,} tokens"}
    if train is not None:
        rows |= {
            "documents": f"{train.documents:,}",
            "text tokens": f"{train.text_tokens:,}",
            "vision tokens": f"{train.vision_tokens:,}",
        }
    if data.licenses is None:
        rows["licenses"] = "the ledger could not be read when the model was exported"
    else:
        rows |= {f"license: {_cell(name)}": f"{count:,} tokens" for name, count in data.licenses.items()}
    return f"### Dataset {_cell(Path(data.path).name)}\n\n{_table(rows)}"


def _origin(facts: RunFacts) -> str:
    record = facts.imported or {}
    files = {_cell(str(x["name"])): f"{x['bytes']:,} bytes, SHA-256 {x['sha256']}" for x in record["files"]}
    account = "\n".join(f"- {_cell(line)}" for line in record["account"])
    return (
        f"## Imported from {record['format']}\n\n{account}\n\n{_table(files)}\nThe license of its publisher applies.\n"
    )


def _files(files: Sequence[Written]) -> str:
    return f"## Files\n\n{_table({x.name: f'{x.size_bytes:,} bytes, SHA-256 {x.sha256}' for x in files})}"


def _table(rows: dict[str, str]) -> str:
    return "".join(["| | |\n|---|---|\n", *(f"| {name} | {value} |\n" for name, value in rows.items())])


def _cell(text: str) -> str:
    """Return text from data so that it stays one cell of a Markdown table."""
    return printable(text).replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").replace("`", "\\`")
