"""The commands that give a report again."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from isoflop.report.summary import Summary
from isoflop.sources.load import split_label
from isoflop.sources.source import Pool, Source, SweepSource, TableSource

# Where isoflop looks when no --db is given, and the coverage when no --level is.
_DEFAULT_DB, _DEFAULT_LEVEL = Path("isoflop.db"), 0.9

_RECORDED = "command "
# Options that `fit` does not have, each with a value.
_OF_REPORTS = {"--out", "--bootstrap"}


def reproduction(summary: Summary) -> tuple[str, ...]:
    """Shell commands from the sweep file or table to this report, in order; of several sources only those recorded."""
    recorded = tuple(value for what, value in summary.provenance.rows if what.startswith(_RECORDED))
    if isinstance(summary.source, Pool):
        return recorded
    source = _source(summary.source, recorded)
    wanted = [word for target in summary.fit.targets for word in ("--target", _shortest(target.budget_flops))]
    wanted += [] if summary.fit.level == _DEFAULT_LEVEL else ["--level", repr(summary.fit.level)]
    asked = _as_fit(recorded)
    if asked and "--db" in source and not any(word.startswith("--db") for word in asked):
        asked += source[source.index("--db") :]  # an environment variable named it
    commands = [asked or ["fit", *source, *wanted]] + ([] if recorded else [["report", *source, *wanted]])
    if isinstance(summary.source, SweepSource):
        commands = [["plan", *source], ["run", *source], *commands]
    return (*(shlex.join(["isoflop", *words]) for words in commands), *recorded)


def _as_fit(recorded: Sequence[str]) -> list[str] | None:
    """The words of `isoflop fit` that ask what a recorded `isoflop report` asked, with all its options."""
    words = next((words for words in map(_words, recorded) if words[:2] == ["isoflop", "report"]), None)
    if words is None:
        return None
    kept, skip = ["fit"], False
    for word in words[2:]:
        name = word.partition("=")[0]
        if not (skip or name == "--json" or name in _OF_REPORTS):
            kept.append(word)
        skip = word in _OF_REPORTS
    return kept


def _shortest(value: float) -> str:
    """`value` with as few digits as read back exactly: `1e+11`."""
    return next(text for digits in range(17) if float(text := f"{value:.{digits}e}") == value)


def _source(source: Source, recorded: tuple[str, ...]) -> list[str]:
    """The words that name the source on a command line."""
    if isinstance(source, SweepSource):
        database = [] if source.path == _DEFAULT_DB else ["--db", str(source.path)]
        return [_sweep_file(recorded) or f"{source.spec.name}.toml", *database]
    chosen = source.columns.chosen.items() if isinstance(source, TableSource) else ()
    renames = [word for ours, theirs in chosen if ours != theirs for word in ("--column", f"{ours}={theirs}")]
    return [str(source.path), *renames]


def _sweep_file(commands: tuple[str, ...]) -> str | None:
    """The sweep file that one of `commands` names."""
    words = [word for command in commands for word in _words(command)]
    named = next((word for word in words if word.endswith(".toml")), None)
    return split_label(named)[1] if named else None


def _words(command: str) -> list[str]:
    try:
        return shlex.split(command)
    except ValueError:  # no command line: a caller may record whatever it likes
        return []
