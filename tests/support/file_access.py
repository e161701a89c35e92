"""Which modules touch the file system, by what they call and import, without running them."""

from __future__ import annotations

import ast
from pathlib import Path

_MODULES = frozenset(["fcntl", "glob", "mmap", "shutil", "tempfile"])
_OF_OS = frozenset(
    ["access", "chmod", "exists", "fsync", "getsize", "isdir", "isfile", "link", "listdir", "lstat", "makedirs",
     "mkdir", "open", "pread", "realpath", "remove", "rename", "replace", "rmdir", "scandir", "stat", "statvfs",
     "symlink", "truncate", "unlink", "utime", "walk"]
)  # fmt: skip
# Methods that paths and PyArrow have, and locations have not.
_METHODS = frozenset(
    ["OSFile", "chmod", "expanduser", "glob", "hardlink_to", "is_dir", "is_file", "is_symlink", "iterdir", "lstat",
     "memory_map", "mkdir", "read_bytes", "read_text", "readlink", "rename", "rglob", "rmdir", "samefile",
     "symlink_to", "touch", "unlink", "write_bytes", "write_text"]
)  # fmt: skip


def file_accesses(source: str) -> list[str]:
    """Return what a module's source uses of the file system, sorted."""
    found = {use for node in ast.walk(ast.parse(source)) for use in _uses(node)}
    return sorted(found)


def _uses(node: ast.AST) -> set[str]:
    if isinstance(node, ast.Import):
        return {name.name for name in node.names} & _MODULES
    if isinstance(node, ast.ImportFrom):
        return {node.module or ""} & _MODULES
    if not isinstance(node, ast.Call):
        return set()
    called = node.func
    if isinstance(called, ast.Name):
        return {"open()"} if called.id == "open" else set()
    if not isinstance(called, ast.Attribute):
        return set()
    if ast.unparse(called.value) in ("os", "os.path"):
        return {f"os.{called.attr}"} if called.attr in _OF_OS else set()
    return {f".{called.attr}()"} if called.attr in _METHODS else set()


def modules_with_file_access(root: Path, packages: tuple[str, ...]) -> dict[str, list[str]]:
    """Return what the modules of packages use of the file system; those that use nothing are left out."""
    paths = sorted(path for package in packages for path in (root / package).rglob("*.py"))
    uses = {path.relative_to(root).as_posix(): file_accesses(path.read_text(encoding="utf-8")) for path in paths}
    return {name: found for name, found in uses.items() if found}
