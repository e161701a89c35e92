"""Options of the commands `import-model` and `export-model`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from tyro.conf import Positional, arg

from schemas.runs.messages import messages
from schemas.storage.option import Address
from trainer.published.exporting import ExportConfig, export_model
from trainer.published.import_config import ImportConfig
from trainer.published.importing import import_model
from trainer.run.copies.fetched import local_run


@dataclass(frozen=True, kw_only=True)
class ImportModel:
    """Convert a published language model to a checkpoint, tensor by tensor.

    Reads safetensors and torch files of Hugging Face (Llama, Mistral, Qwen 2, Qwen 3, SmolLM2), GGUF files, Meta's
    consolidated shards, and LWM's msgpack. `longreel train --init-from` starts from the result.
    """

    source: Positional[str]
    """Folder or file of the model, or params::FILE, trainstate_params::FILE or flax_params::FILE of LWM."""
    importing: Annotated[ImportConfig, arg(name="")]

    def __call__(self, options: tuple[str, ...]) -> None:
        """Import, and print what was done."""
        result = import_model(self.source, self.importing)
        for line in result.account:
            messages.info(f"import-model: {line}")
        messages.info(f"import-model: {result.parameters:,} parameters; {result.checkpoint}")


@dataclass(frozen=True, kw_only=True)
class ExportModel:
    """Write the newest checkpoint of a run in a format that transformers, vLLM, llama.cpp or LWM's code loads.

    A model of text and vision becomes one LlamaForCausalLM with the vision ids behind the text ids.
    """

    run: Positional[Address]
    """Output folder of `longreel train` or `longreel import-model`, or its address in a bucket."""
    exporting: Annotated[ExportConfig, arg(name="")]

    def __call__(self, options: tuple[str, ...]) -> None:
        """Export, and print the files."""
        result = export_model(local_run(self.run), self.exporting)
        for file in result.files:
            line = f"export-model: {result.out / file.name}: {file.size_bytes:,} bytes, SHA-256 {file.sha256}"
            messages.info(line)
        messages.info(f"export-model: step {result.step}, {result.parameters:,} parameters")
