"""The filter by license: only items under one of the listed licenses are kept."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.filters.filter import Rejection
from schemas.errors import ConfigError, Reason
from schemas.rows import SurveyRow

_UNKNOWN = "unknown"


@dataclass(frozen=True, kw_only=True)
class LicenseFilter:
    """Keeps items under one of `licenses`, or all items if none is listed."""

    licenses: tuple[str, ...] = ()
    """Licenses to keep, as the manifest spells them (case-insensitive). "unknown" keeps items without a license.
    Default: all licenses."""

    def __post_init__(self) -> None:
        if not all(name.strip() for name in self.licenses):
            raise ConfigError(f'licenses must not be empty ("unknown" keeps items without one), got {self.licenses}')

    def reject(self, item: SurveyRow) -> Rejection | None:
        """See pipeline.filters.filter.Filter."""
        license = (item.license or "").strip()
        allowed = {name.strip().casefold() for name in self.licenses}
        if not allowed or (license or _UNKNOWN).casefold() in allowed:
            return None
        if not license:
            return Rejection(
                Reason.LICENSE,
                "it has no license; give it one in the manifest or by --license, or add unknown to --licenses",
            )
        return Rejection(Reason.LICENSE, f"license {license!r} is not one of {', '.join(self.licenses)} (--licenses)")
