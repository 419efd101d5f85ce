"""Whether a sweep file still asks what was planned: one rule for all that read a planned sweep."""

from pathlib import Path

from isoflop.finding import Finding, Severity
from isoflop.spec import SweepSpec


def file_findings(planned: SweepSpec, asked: SweepSpec, file: Path) -> tuple[Finding, ...]:
    """A finding where the sweep of `file` asks for other runs than were `planned`, or reads them otherwise.

    How runs are looked after (`[run]`) changes no answer.
    """
    if planned.asks_the_same_as(asked):
        return ()
    return (
        Finding(
            "sweep_file_changed",
            Severity.WARNING,
            f"{str(file)!r} is no longer the sweep {planned.name!r} that was planned; this output is of the planned "
            "sweep.",
            "`isoflop plan` shows what changed and records it.",
        ),
    )
