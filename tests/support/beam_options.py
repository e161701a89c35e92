"""Remembers how Beam's options parse, which takes Beam a fifth of the time of a small job.

Each transform of each pipeline reads a few groups of options, and each time Beam builds a parser and parses all again.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence

from apache_beam.options.pipeline_options import PipelineOptions


def remember_options() -> None:
    """Make Beam parse the same arguments for the same group of options once in this process."""
    parse = PipelineOptions.__init__
    known: dict[tuple[type[PipelineOptions], tuple[str, ...]], Namespace] = {}

    def remembered(self: PipelineOptions, flags: Sequence[str] | None = None, **values: object) -> None:
        if flags is None or isinstance(flags, str) or values:  # None stands for the arguments of this process
            parse(self, flags, **values)
            return
        key = type(self), tuple(flags)
        if key not in known:
            parse(self, flags)
            known[key] = _copy(self._visible_options)
        self._flags, self._visible_options = flags, _copy(known[key])
        self._all_options = dict(vars(self._visible_options))

    PipelineOptions.__init__ = remembered


def _copy(parsed: Namespace) -> Namespace:
    """Return a copy whose lists can be extended, as `add_experiment` does."""
    return Namespace(**{name: [*value] if isinstance(value, list) else value for name, value in vars(parsed).items()})
