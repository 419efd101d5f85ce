"""A finding: something a reader should know before believing a plan or a fit."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum

from isoflop.registry import FINDING_CODES


class Severity(StrEnum):
    """How much a finding weighs. `error` makes `--strict` exit with 4."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True)
class Finding:
    """One observation, in words and in numbers.

    Attributes:
        code: stable machine name, one of `isoflop.registry`.
        severity: see `Severity`.
        message: one sentence: what was seen, with its numbers.
        hint: one sentence: what to do next.
        values: the numbers of the message, JSON-able and finite (None where there is none).
    """

    code: str
    severity: Severity
    message: str
    hint: str
    values: Mapping[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        allowed = (codes[self.code] for codes in FINDING_CODES.values() if self.code in codes)
        if self.severity not in next(allowed, ()):
            raise ValueError(f"no finding {self.code!r} of severity {self.severity} in isoflop.registry")

    def as_json(self) -> dict[str, object]:
        """The finding as a JSON object: code, severity, message, hint, values."""
        return asdict(self)
