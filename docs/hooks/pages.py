"""Pages of the documentation site that are made when it is built: those of the checkout, and the reference.

README.md is the first page; ARCHITECTURE.md, CONTRIBUTING.md and others become pages with their links adjusted. The
reference is generated from the code: every command with its options, the reasons of rejection, the exit codes, and the
columns of the tables. `llms.txt` lists all pages for language models.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from dataclasses import MISSING
from pathlib import Path
from typing import Any

import pyarrow as pa
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.nav import Navigation
from mkdocs.structure.pages import Page

import longreel
from pipeline.cli.options import Option, options_of
from pipeline.cli.subcommands import SUBCOMMANDS
from pipeline.runtime import workspace
from schemas import errors, records
from schemas.dataset import SCHEMA_VERSION
from schemas.runs import metrics

_TOP = Path(__file__).parents[2]
_PAGES = {  # of the checkout, and their names in the site
    "README.md": "index.md",
    "ARCHITECTURE.md": "architecture.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "SECURITY.md": "security.md",
    "CODE_OF_CONDUCT.md": "code_of_conduct.md",
    "RELEASING.md": "releasing.md",
    "tokenizer/README.md": "frame_tokenizers.md",
    "tokenizer/weights/small-128.md": "small-128.md",
    "pipeline/sources/samples/video-3m.md": "video-3m.md",
    "LICENSE": "license.md",
}
_LINK = re.compile(r"(\]\()([^)\s#]+)(#[^)\s]*)?(\))")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Add the generated pages to the navigation."""
    commands = [{name: _command_page(name)} for name in SUBCOMMANDS]
    for entry in config.nav or []:
        if "Reference" in entry:
            entry["Reference"] += [
                {"Commands": commands},
                {"Reasons of rejection": "reference/reasons.md"},
                {"Metrics": "reference/metrics.md"},
                {"Formats and versions": "reference/formats.md"},
                {"Tables": "reference/tables.md"},
            ]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages of the checkout and the generated ones."""
    for source, name in _PAGES.items():
        text = (_TOP / source).read_text(encoding="utf-8")
        if source == "LICENSE":
            text = f"# License\n\n```text\n{text}```\n"
        files.append(File.generated(config, name, content=_adjusted(text, Path(source).parent)))
    for name, content in _reference():
        files.append(File.generated(config, name, content=content))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Adjust the links of pages in `docs/` that lead out of it."""
    source = Path(page.file.src_uri)
    return _adjusted(markdown, Path("docs") / source.parent) if (_TOP / "docs" / source).is_file() else markdown


def on_post_build(config: MkDocsConfig) -> None:
    """Write `llms.txt`: the title and first sentence of every page."""
    lines = [f"# {config.site_name}", "", f"> {config.site_description}", ""]
    for name, text in _llms:
        title = re.search(r"^# (.+)$", text, re.MULTILINE)
        lines.append(f"- [{title[1] if title else name}]({name.removesuffix('.md')}.html): {_first_sentence(text)}")
    (Path(config.site_dir) / "llms.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _first_sentence(text: str) -> str:
    """Return the first sentence of the first paragraph of prose, without links."""
    paragraphs = (paragraph.strip("\n") for paragraph in re.split(r"\n\s*\n", text))
    prose = next((paragraph for paragraph in paragraphs if re.match(r"[A-Z*]|`(?!``)", paragraph)), "")
    plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", " ".join(prose.split()))
    return re.split(r"(?<=[.:]) (?=[A-Z`])", plain)[0]


_llms: list[tuple[str, str]] = []


def on_nav(nav: Navigation, config: MkDocsConfig, files: Files) -> Navigation:
    """Note the pages in the order of the navigation."""
    _llms[:] = [(page.file.src_uri, page.file.content_string) for page in nav.pages]
    return nav


def _adjusted(text: str, folder: Path) -> str:
    """Return Markdown of a file in `folder` with links to files of the checkout turned into links within the site."""
    depth = len(folder.parts) - 1 if folder.parts[:1] == ("docs",) else 0

    def replaced(match: re.Match[str]) -> str:
        before, target, anchor, after = match.groups()
        if "://" in target or target.startswith("mailto:"):
            return match[0]
        path = (_TOP / folder / target).resolve()
        if not path.is_relative_to(_TOP):
            return match[0]
        source = path.relative_to(_TOP).as_posix()
        name = _PAGES.get(source, source.removeprefix("docs/") if source.startswith("docs/") else None)
        return match[0] if name is None else f"{before}{'../' * depth}{name}{anchor or ''}{after}"

    return _LINK.sub(replaced, text)


def _command_page(name: str) -> str:
    return f"reference/commands/{name.replace(' ', '_')}.md"


def _reference() -> Iterator[tuple[str, str]]:
    """Yield the names and contents of the generated pages."""
    yield "reference/index.md", _index()
    yield "reference/reasons.md", _reasons()
    yield "reference/metrics.md", _metrics()
    yield "reference/formats.md", _formats()
    yield "reference/tables.md", _tables()
    for name in SUBCOMMANDS:
        yield _command_page(name), _command(name)


def _index() -> str:
    lines = ["# Reference", "", "## Commands", ""]
    group = ""
    for name, command in SUBCOMMANDS.items():
        if command.group != group:
            group = command.group
            lines += ["", f"**{group}**", "", "| command | |", "|---|---|"]
        page = _command_page(name).removeprefix("reference/")
        lines.append(f"| [`longreel {name}`]({page}) | {command.summary} |")
    lines += ["", "## Configuration keys", ""]
    lines.append(
        "The keys of a [configuration file](../configuration.md) are the options of a command, in tables by prefix."
    )
    codes = re.findall(r"^    (\d+) +(.+(?:\n {9}.+)*)", longreel.__doc__ or "", re.MULTILINE)
    lines += ["", "## Exit codes", "", "| code | meaning |", "|---|---|"]
    lines += [f"| {code} | {' '.join(meaning.split())} |" for code, meaning in codes]
    lines += ["", "## Environment variables", "", "| variable | effect |", "|---|---|"]
    lines += [
        "| `AWS_*` | credentials, region and endpoint (`AWS_ENDPOINT_URL`) of S3 |",
        "| `GOOGLE_APPLICATION_CREDENTIALS`, `GOOGLE_CLOUD_PROJECT` | credentials and project of Google Cloud |",
        "| `STORAGE_EMULATOR_HOST` | another server in place of Google Cloud Storage |",
        "| `OPENAI_API_KEY` | the key for `--endpoint` of `eval`, `qa` and `caption` |",
        "| `LONGREEL_API_KEY` | the key that `serve` asks for |",
        "| `LONGREEL_COORDINATOR`, `LONGREEL_PROCESSES`, `LONGREEL_PROCESS_ID` | the place of a process "
        "in a run of several; see [many hosts](../launch.md), also for the variables of schedulers |",
        "| `LONGREEL_CACHE_BYTES` | the size of the [cache](../storage.md#the-cache) of files from buckets |",
        "| `TMPDIR` | the folder of temporary copies and of that cache |",
        "| `XDG_CACHE_HOME` | the folder of compiled programs, `longreel/compiled`; `~/.cache` by default |",
        "| `XLA_FLAGS`, `JAX_*` | the settings of JAX, as its documentation describes |",
    ]
    return "\n".join(lines) + "\n"


def _command(name: str) -> str:
    command = SUBCOMMANDS[name]
    loaded: Any = command.load()
    lines = [f"# longreel {name}", "", _as_markdown(inspect.getdoc(loaded) or command.summary), ""]
    sections: dict[tuple[str, ...], list[Option]] = {}
    for option in options_of(loaded):
        sections.setdefault(option.table, []).append(option)
    for table, options in sections.items():
        title = f"## {'.'.join(table)}" if table else "## Options"
        lines += [title, ""]
        if table and options[0].section:
            lines += [" ".join(options[0].section.split()), ""]
        lines += ['<div class="options" markdown>', "", "| option | default | |", "|---|---|---|", *map(_row, options)]
        lines += ["", "</div>", ""]
    lines += [
        "## In a configuration file",
        "",
        f"`longreel config {name}` prints these options as TOML with their values; `--config FILE` reads such a file.",
    ]
    if command.uses_beam:
        lines += ["", "What follows `--` is passed to Beam; see [Dask and Dataflow](../../operations.md)."]
    return "\n".join(lines) + "\n"


def _row(option: Option) -> str:
    shown = option.name.upper() if option.positional else f"--{option.name}"
    if option.default is MISSING:
        default = "required"
    else:
        value = option.to_toml(option.default)
        default = "" if value is None or value == [] or value == {} else f"`{_cell(str(value))}`"
    choices = f" One of {', '.join(f'`{choice}`' for choice in option.choices)}." if option.choices else ""
    return f"| `{shown}` | {default} | {_cell(option.help)}{choices} |"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;").replace("[", "\\[")


def _as_markdown(docstring: str) -> str:
    """Return a docstring as Markdown in which brackets make no links."""
    return docstring.replace("<", "&lt;").replace("[", "\\[")


def _reasons() -> str:
    found = re.findall(r'^    ([A-Z_]+) = \(?\s*"(\w+)"(?:  # (.+))?$', inspect.getsource(errors.Reason), re.MULTILINE)
    known = {value: comment for _, value, comment in found}
    lines = [
        "# Reasons of rejection",
        "",
        "Every input ends as tokens or as a row of `DIR/quarantine.parquet` with one of these reasons and a detail.",
        "`longreel list DIR --rejected --reason REASON` prints the items of a reason.",
        "",
        "| reason | |",
        "|---|---|",
    ]
    return "\n".join([*lines, *(f"| `{r.value}` | {_cell(known.get(r.value, ''))} |" for r in errors.Reason)]) + "\n"


def _metrics() -> str:
    training = inspect.getdoc(metrics) or ""
    serving = (_TOP / "pipeline" / "serving" / "metrics.py").read_text(encoding="utf-8")
    found = re.findall(r'"(longreel_\w+)",\s*"([^"]+)"', serving)
    lines = ["# Metrics", "", "## Training", "", _as_markdown(training), ""]
    lines += [
        "[Training](../training_runs.md#what-is-logged) has the meaning of every field.",
        "",
        "## `longreel serve`",
        "",
        "`/metrics` has these in the format of Prometheus; counters have the suffix `_total`.",
        "",
    ]
    lines += ["| metric | |", "|---|---|", *(f"| `{name}` | {_cell(help)} |" for name, help in found)]
    return "\n".join(lines) + "\n"


def _formats() -> str:
    return f"""# Formats and versions

| what | version | where it is written | described in |
|---|---|---|---|
| layout of a workspace | {workspace.LAYOUT_VERSION} | `version` in `workspace.json` | [tables](tables.md) |
| dataset | {SCHEMA_VERSION} | `schema_version` in `dataset.json` | [datasets](../datasets.md) |
| results of a job | one for each algorithm | in the fingerprint that is stored with them | [tables](tables.md) |
| checkpoint of a run | none: the arrays are compared | `checksums.json` | [training](../training_runs.md) |
| weights of a VQGAN | none: the arrays are compared | the header | [frame tokenizers](../frame_tokenizers.md) |

Files are written in formats that other programs read: Parquet and Arrow, WebDataset (tar with NumPy arrays and JSON),
Croissant, TOML, safetensors and Orbax.

## Upgrades

- Before 1.0, a release may change a format. A command refuses a dataset or workspace of another version and names the
  version; nothing is converted in place.
- Every job stores the version of its algorithm with its results. When an upgrade changes what a job computes, the next
  `run` computes the affected results again, and only these. Inputs and the settings in `config.toml` stay.
- `longreel pack` makes datasets of the new version from an existing token store; videos are not encoded again.
- The changelog names every change of output.
"""


def _tables() -> str:
    source = inspect.getsource(records)
    purpose = dict(re.findall(r"^(\w+) {2,}(.+(?:\n {13}.+)*)", records.__doc__ or "", re.MULTILINE))
    lines = ["# Tables", "", "The columns of the Parquet and Arrow tables that the jobs write.", ""]
    for name, schema in vars(records).items():
        if not isinstance(schema, pa.Schema):
            continue
        comments = _comments(source, name)
        lines += [f"## {name.lower()}", "", " ".join(purpose.get(name.lower(), "").split()), ""]
        lines += ["| column | type | |", "|---|---|---|"]
        for column in schema:
            note = _cell(comments.get(column.name, "") or ("" if column.nullable else "never null"))
            lines.append(f"| `{column.name}` | {_cell(str(column.type))} | {note} |")
        lines.append("")
    return "\n".join(lines)


def _comments(source: str, name: str) -> dict[str, str]:
    """Return the comments after the fields of one schema in the source of `schemas.records`."""
    block = re.search(rf"^{name} = pa\.schema\(\n(.*?)^\)", source, re.MULTILINE | re.DOTALL)
    return dict(re.findall(r'pa\.field\("(\w+)".*?\),  # (.+)$', block[1] if block else "", re.MULTILINE))
