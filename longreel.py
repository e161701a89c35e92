"""The command `longreel SUBCOMMAND [options] [-- Beam options]`.

Exit codes:

    0    success
    1    an error; the message says what happened and what to do. `verify` also returns 1 when it finds a problem
    2    wrong usage: an unknown subcommand or option, an invalid value or combination, a wrong configuration file, or
         options that differ from the configuration of the workspace, without --reconfigure
    3    an internal error: please report it with the traceback, which is printed or in the log file that the message
         names
    130  interrupted (Ctrl-C or SIGTERM); what was made is kept, and the same command resumes

`import longreel` offers the Python API of docs/python_api.md, too: `API` has its names and the modules they are in.

Only the standard library is imported before the check that `pipeline`, `schemas`, `tokenizer` and `trainer` are those
of this installation: the names are generic, and a folder of that name earlier on `sys.path` would be imported instead.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import os
import select
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

API = {  # imported when they are first used, so that commands start fast
    "run": "pipeline.api.jobs",
    "items": "pipeline.api.jobs",
    "rejections": "pipeline.api.jobs",
    "Dataset": "pipeline.api.dataset",
    "Part": "pipeline.api.dataset",
    "jax_batches": "pipeline.api.batches",
    "load_model": "pipeline.api.models",
    "Model": "pipeline.api.models",
    "LongreelError": "schemas.errors",
}
PACKAGES = ("pipeline", "schemas", "tokenizer", "trainer")
SUCCESS, FAILURE, USAGE, INTERNAL, INTERRUPTED = 0, 1, 2, 3, 130

_USAGE = """\
usage: longreel SUBCOMMAND [options] [-- Beam options]

Turns videos and books into million-token training data, and trains a model on it.
"""
_FOOTER = """
longreel SUBCOMMAND --help shows the options of a subcommand; longreel --version shows the version.

Exit codes:
  0    success
  1    an error, described in the message; `verify` also returns 1 when it finds a problem
  2    wrong usage: an unknown subcommand or option, an invalid value or combination, a wrong
       configuration file, or options that differ from the configuration of the workspace,
       without --reconfigure
  3    an internal error: please report it with the traceback, which is printed or in the log file
       that the message names
  130  interrupted; what was made is kept, and the same command resumes"""


def __getattr__(name: str) -> Any:
    """Return a name of the Python API."""
    if name not in API:
        raise AttributeError(f"module 'longreel' has no attribute {name!r}; it has {', '.join(API)}")
    if problem := shadowed_package():
        raise ImportError(problem)
    return getattr(importlib.import_module(API[name]), name)


def __dir__() -> list[str]:
    return [*globals(), *API]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one subcommand and return its exit code; see the module's docstring."""
    try:
        try:
            return _main(arguments)
        finally:
            sys.stdout.flush()
    except BrokenPipeError:  # the reader, such as head, has enough; Python would complain again when it exits
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return SUCCESS


def _main(arguments: Sequence[str] | None) -> int:
    given = list(sys.argv[1:] if arguments is None else arguments)
    if problem := shadowed_package():
        print(f"longreel: {problem}", file=sys.stderr)  # without importing a package
        return USAGE
    if not given or given[0] in ("-h", "--help"):
        print(help_text())
        return SUCCESS if given else USAGE
    if given[0] == "--version":
        print(f"longreel {importlib.metadata.version('longreel')}")
        return SUCCESS
    from pipeline.cli.subcommands import SUBCOMMANDS, split_name, unknown_subcommand

    name, rest = split_name(given)
    if name not in SUBCOMMANDS:
        return _fail(unknown_subcommand(name), USAGE)
    options: tuple[str, ...] = ()
    if name == "config" and rest[:1] not in (["-h"], ["--help"]):
        other, others = split_name(rest) if rest else ("", [])
        rest, options = [other] if other else [], tuple(others)  # options of another command are not parsed as its own
    elif "--" in rest:
        at = rest.index("--")
        rest, options = rest[:at], tuple(rest[at + 1 :])
    if options and name != "config" and not SUBCOMMANDS[name].uses_beam:
        return _fail(f"takes no Beam options, got {' '.join(options)!r} after --", USAGE, name)
    return _run(name, rest, options)


def shadowed_package() -> str | None:
    """Return an error message if one of the packages would be imported from another place than this installation."""
    home = Path(__file__).resolve().parent
    for name in PACKAGES:
        spec = importlib.util.find_spec(name)
        places = [Path(place).resolve() for place in (spec and spec.submodule_search_locations) or ()]
        if spec is not None and spec.origin is not None and not places:
            places = [Path(spec.origin).resolve()]  # a module schemas.py
        if places[:1] != [home / name]:
            found = f"{places[0]} would be imported as {name!r} instead of {home / name}" if places else "it is missing"
            return (
                f"the package {name!r} of this installation cannot be imported: {found}. Remove the folder "
                f"{places[0].parent if places else home} from PYTHONPATH and sys.path, start longreel in another "
                "folder, or install longreel in a virtual environment of its own"
            )
    return None


def help_text() -> str:
    """Return what `longreel --help` prints."""
    from pipeline.cli.subcommands import SUBCOMMANDS

    width = max(map(len, SUBCOMMANDS))
    lines = [_USAGE]
    group = ""
    for name, subcommand in SUBCOMMANDS.items():
        if subcommand.group != group:
            group = subcommand.group
            lines += ["", f"{group}:"] if len(lines) > 1 else [f"{group}:"]
        lines.append(f"  {name:<{width}}  {subcommand.summary}")
    return "\n".join([*lines, _FOOTER])


def _run(name: str, arguments: list[str], options: tuple[str, ...]) -> int:
    """Parse the options of a subcommand, run it, and turn what it raises into a message and an exit code."""
    from pipeline.cli.subcommands import SUBCOMMANDS
    from schemas.errors import InternalError, Interrupted, LongreelError, TemplateWritten, UsageError
    from schemas.runs.messages import messages

    messages.configure(name, level="info", format="text")  # until the options are parsed
    try:
        _require_printable(arguments)
        command_class = SUBCOMMANDS[name].load()
        from pipeline.cli.parse import parse
        from pipeline.cli.settings import record

        command = parse(command_class, arguments, prog=f"longreel {name}")
        try:
            command(options)
        except Interrupted:
            record(name, command)
            raise
        record(name, command)
    except TemplateWritten as e:
        print(_shown(f"longreel {name}: {e}"))
    except Interrupted as e:
        return _fail(str(e), INTERRUPTED, name)
    except KeyboardInterrupt:
        return _fail("interrupted; what was made is kept", INTERRUPTED, name)
    except UsageError as e:
        return _fail(str(e), USAGE, name)
    except InternalError as e:
        return _fail(str(e), INTERNAL, name)
    except LongreelError as e:
        return _fail(str(e), FAILURE, name)
    except OSError as e:  # for example a file that may not be read
        if isinstance(e, BrokenPipeError) and _reader_left():
            raise
        return _fail(f"{e.filename}: {e.strerror}" if e.filename and e.strerror else str(e), FAILURE, name)
    except Exception:  # noqa: BLE001 - a defect, which is reported with its traceback
        return _fail(f"internal error; please report it with this text\n{traceback.format_exc()}", INTERNAL, name)
    return SUCCESS


def _reader_left() -> bool:
    """Whether nobody reads what is printed any more; a command has other pipes, too."""
    printed = select.poll()
    printed.register(sys.stdout, 0)
    return any(event & select.POLLERR for _, event in printed.poll(0))


def _require_printable(arguments: list[str]) -> None:
    """Raise UsageError for an option that a terminal would execute where the message about it quotes it."""
    from schemas.errors import UsageError
    from schemas.printable import printable

    for argument in arguments:
        option = argument.partition("=")[0]
        if option.startswith("-") and option != printable(option):
            raise UsageError(f"unknown option {printable(option)}; give a file of this name as ./{printable(option)}")


def _fail(message: str, code: int, name: str = "") -> int:
    from schemas.runs.messages import messages

    if messages.is_json:
        messages.error(message, exit_code=code)
        return code
    print(_shown(f"longreel{f' {name}' if name else ''}: {message}"), file=sys.stderr)
    return code


def _shown(message: str) -> str:
    from schemas.printable import printable

    return printable(message, keep="\n")


if __name__ == "__main__":
    sys.exit(main())
