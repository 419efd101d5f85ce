"""The finding that says how a table was read, where that is not a matter of course."""

from collections.abc import Sequence

from isoflop.finding import Finding, Severity


def reading_findings(notes: Sequence[str]) -> tuple[Finding, ...]:
    """One finding with all the `notes` of a table, each of them a sentence; none without any."""
    if not notes:
        return ()
    return (
        Finding(
            code="table_read_as",
            severity=Severity.INFO,
            message=" ".join(notes),
            hint="Nothing needs to be done if that is right; otherwise save the table as CSV in UTF-8, with decimal "
            "points and its columns named in the first line.",
            values={"notes": list(notes)},
        ),
    )
