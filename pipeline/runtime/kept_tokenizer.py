"""The text tokenizer that a workspace keeps: the files in tokenizers/text/, and their SHA-256 in tokenizers/text.json.

text.json is deleted first and written last, so files without it are those of a command that was killed.
"""

from __future__ import annotations

from pipeline.runtime.workspace import Workspace
from schemas.errors import DatasetError
from schemas.files import read_json, write_json
from schemas.storage.location import Location
from schemas.text_tokenizer import file_problems
from schemas.weight_files.tokenizer_files import TokenizerFiles


def keep_tokenizer(workspace: Workspace, files: TokenizerFiles) -> None:
    """Keep `files` instead of what the workspace has; does nothing if it has the same."""
    folder, record, hashes = workspace.text_tokenizer, record_of(workspace), files.hashes()
    try:
        if kept_hashes(workspace) == hashes and not list(file_problems(folder, hashes)):
            return
    except DatasetError:  # damaged, or of a killed command
        pass
    record.delete()
    files.write(folder)
    for place in folder.list():
        if place.name not in hashes:
            place.delete()
    write_json(record, {"files": hashes})


def kept_hashes(workspace: Workspace) -> dict[str, str]:
    """Return the SHA-256 of each file by name; nothing if the workspace has no text tokenizer yet.

    Raises DatasetError if the record is damaged or missing.
    """
    folder, record = workspace.text_tokenizer, record_of(workspace)
    repair = f"give the text tokenizer again with --text-tokenizer; or delete {folder}, to train a new one"
    try:
        hashes: dict[str, str] = read_json(record)["files"]
    except FileNotFoundError:
        if folder.is_folder():
            raise DatasetError(f"{folder} is incomplete: the command that wrote it was killed; {repair}") from None
        return {}
    except (DatasetError, KeyError) as e:
        raise DatasetError(f"{record} is damaged ({e}); {repair}") from e
    return hashes


def check_kept(workspace: Workspace) -> None:
    """Raise DatasetError if a file is damaged, which would tokenize every item again, with other ids."""
    folder = workspace.text_tokenizer
    for name, problem in file_problems(folder, kept_hashes(workspace)):
        raise DatasetError(
            f"{folder / name} is damaged: {problem}. Restore it, or give the text tokenizer again with "
            f"--text-tokenizer; or delete {folder} and {record_of(workspace).name} next to it, to train a new one and "
            "to tokenize everything again"
        )


def record_of(workspace: Workspace) -> Location:
    """Return the record."""
    return workspace.text_tokenizer.with_name(f"{workspace.text_tokenizer.name}.json")
