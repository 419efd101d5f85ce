"""A finding: something a reader should know before believing a plan or a fit."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum


class Severity(StrEnum):
    """How much a finding weighs. `error` makes `--strict` exit with 4."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True)
class Finding:
    """One observation, in words and in numbers.

    Attributes:
        code: stable machine name, snake case.
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

    def as_json(self) -> dict[str, object]:
        """The finding as a JSON object: code, severity, message, hint, values."""
        return asdict(self)
