"""Runs `longreel run` on kinds of input that public bug reports are about, and on media of published packages.

    python benchmarks/inputs.py [--smoke] [--only TEXT ...] [--keep DIR] [--out inputs.json]

Each case is a kind of input: its files are built, all cases go through one run together, and what became of each file
is compared with what is right: kinds, sizes, texts, the place of cues, reasons of rejection. The table has a line per
case with the number of files that came out right, that were rejected though they can be read, and that are wrong. If
the run ends with an error, which no input may cause, each case is run alone to find the one that does it. Videos become
tokens of a small VQGAN with random weights, because the codes themselves are not examined. `--smoke` leaves out the
packages, which are downloaded with pip and npm.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import tyro

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # the cases use generators of the tests

from inputs_parts import subtitle_cases, text_cases, video_cases  # noqa: E402
from inputs_parts.case import REJECTED, Case  # noqa: E402
from inputs_parts.outcome import Outcome, Run  # noqa: E402
from inputs_parts.packages import package_cases  # noqa: E402

from tests.support.stages import Models, save_models  # noqa: E402
from tests.support.vqgan.tiny_vqgan import TINY  # noqa: E402

RIGHT, REJECTED_FILE, WRONG = "right", "rejected", "wrong"


@dataclass(frozen=True)
class Options:
    """Run the product on difficult inputs."""

    smoke: bool = False  # a few cases, without the media of packages, which are downloaded
    only: tuple[str, ...] = ()  # run only the cases whose names contain one of these
    keep: Path | None = None  # a new folder to keep inputs and outputs in
    out: Path | None = None  # write the figures to this JSON file


@dataclass(frozen=True)
class Finding:
    """What became of one file of a case."""

    case: str
    file: str
    verdict: str
    problem: str


def build(case: Case, folder: Path) -> list[Path]:
    """Write the files of a case; return its tables."""
    folder.mkdir(parents=True)
    case.build(folder)
    return [folder / table for table in case.tables]


def run(inputs: Sequence[Path], out: Path, models: Models) -> str:
    """Run the pipeline on the inputs; return the message with which it ended, "" if it succeeded."""
    options = ["--context", "4096", "--units", "4", "--select.val-fraction", "0", "--text-tokenizer", str(models.text)]
    options += ["--vision", models.vision, "--decode.size", str(TINY.frame_size), "--workers", "1"]
    command = [sys.executable, "-P", str(ROOT / "longreel.py"), "run", *map(str, inputs), "--out", str(out), *options]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    return "" if done.returncode == 0 else f"exit code {done.returncode}: {done.stderr.strip()[-600:]}"


def judge(case: Case, outcome: Outcome) -> list[Finding]:
    """Compare what became of the files of a case with what is right."""
    findings = []
    for file, check in case.checks.items():
        try:
            problem = check(outcome, file)
        except Exception as e:  # noqa: BLE001 - a document that is missing or cannot be parsed is a finding as well
            problem = f"cannot be examined: {e!r}"
        verdict = REJECTED_FILE if problem.startswith(REJECTED) else WRONG if problem else RIGHT
        findings.append(Finding(case.name, file, verdict, problem.removeprefix(REJECTED)))
    return findings


def judge_alone(case: Case, scratch: Path, models: Models) -> list[Finding]:
    """Run one case by itself."""
    folder = scratch / "in"
    tables = build(case, folder)
    if message := run([folder, *tables], scratch / "out", models):
        return [Finding(case.name, file, WRONG, f"the run ended with {message}") for file in case.checks]
    return judge(case, Outcome(Run(scratch / "out", models.text), folder))


def judge_together(cases: Sequence[Case], scratch: Path, models: Models) -> list[Finding]:
    """Run all cases at once; if that ends with an error, each by itself."""
    folders = {case.name: scratch / "in" / re.sub(r"\W+", "_", case.name) for case in cases}
    tables = [table for case in cases for table in build(case, folders[case.name])]
    message = run([scratch / "in", *tables], scratch / "out", models)
    if not message:
        made = Run(scratch / "out", models.text)
        return [finding for case in cases for finding in judge(case, Outcome(made, folders[case.name]))]
    print(f"the run of all cases ended with {message}\neach case is run alone")
    return [
        finding
        for number, case in enumerate(cases)
        for finding in judge_alone(case, scratch / f"alone-{number}", models)
    ]


def print_table(findings: Sequence[Finding]) -> None:
    print(f"\n{'case':<44}{RIGHT:>8}{REJECTED_FILE:>10}{WRONG:>8}")
    for name in dict.fromkeys(finding.case for finding in findings):
        counts = Counter(finding.verdict for finding in findings if finding.case == name)
        print(f"  {name:<42}{counts[RIGHT]:8}{counts[REJECTED_FILE]:10}{counts[WRONG]:8}")
        for finding in findings:
            if finding.case == name and finding.verdict != RIGHT:
                print(f"      {finding.verdict}: {finding.file}: {finding.problem}"[:300])
    total = Counter(finding.verdict for finding in findings)
    print(f"  {'all':<42}{total[RIGHT]:8}{total[REJECTED_FILE]:10}{total[WRONG]:8}")


def main(options: Options) -> None:
    cases = [*text_cases.CASES, *subtitle_cases.CASES, *video_cases.CASES]
    with ExitStack() as stack:
        scratch = options.keep or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        scratch.mkdir(parents=True, exist_ok=True)
        models = save_models(scratch)
        if not options.smoke:
            (scratch / "packages").mkdir()
            cases += package_cases(scratch / "packages")
        chosen = [case for case in cases if not options.only or any(part in case.name for part in options.only)]
        if options.smoke:
            chosen = chosen[:: len(chosen) // 8 or 1]
        findings = judge_together(chosen, scratch, models)
    print_table(findings)
    if options.out:
        figures = [finding.__dict__ for finding in findings]
        options.out.write_text(json.dumps(figures, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(tyro.cli(Options))
