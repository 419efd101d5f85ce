"""`isoflop exclude` and `isoflop include`: a person's decision about runs, recorded with its reason."""

from typing import TYPE_CHECKING, Annotated

import typer

from isoflop.cli.options import DEFAULT_DB, AsJson, Database

if TYPE_CHECKING:
    from isoflop.sweep.selection import Chosen

Runs = Annotated[
    list[str], typer.Argument(metavar="RUN", help="Run ids, or at least their first four digits.", show_default=False)
]


def exclude(
    runs: Runs,
    reason: Annotated[
        str,
        typer.Option("--reason", help="Why the runs are left out; shown in every fit and report.", show_default=False),
    ],
    db: Database = DEFAULT_DB,
    json: AsJson = False,
) -> None:
    """Leave runs out of every fit, with a reason that every fit and report shows.

    The results stay in the database, and `isoflop include` lets the runs count again. Excluding a run again replaces
    its reason.
    """
    from isoflop.errors import IsoflopError
    from isoflop.sweep.selection import chosen_runs

    reason = reason.strip()
    if not reason:
        raise IsoflopError("--reason is blank.", hint="Say in a few words why the runs do not count.")
    with chosen_runs(db, runs) as chosen:
        chosen.store.exclude(*chosen.run_ids, reason=reason)
    _say(chosen, f"excluded: {reason}", json=json, reason=reason)


def include(runs: Runs, db: Database = DEFAULT_DB, json: AsJson = False) -> None:
    """Let excluded runs count again."""
    from isoflop.errors import IsoflopError
    from isoflop.sweep.selection import chosen_runs

    with chosen_runs(db, runs) as chosen:
        counting = [run_id for run_id in chosen.run_ids if run_id not in chosen.before]
        if counting:
            raise IsoflopError(
                f"Not excluded: {', '.join(counting)}.", hint="`isoflop fit` lists the excluded runs as a finding."
            )
        chosen.store.include(*chosen.run_ids)
    _say(chosen, "counts again", json=json, reason=None)


def _say(chosen: "Chosen", decision: str, *, json: bool, reason: str | None) -> None:
    from isoflop.cli.console import stdout
    from isoflop.view.document import SCHEMA_VERSION, dumps
    from isoflop.view.drawing import text

    if json:
        document = {
            "schema_version": SCHEMA_VERSION,
            "run_ids": list(chosen.run_ids),
            "sweeps": list(chosen.sweeps),
            "excluded": reason is not None,
            "reason": reason,
            "previous_reasons": dict(chosen.before),
        }
        print(dumps(document))
        return
    for run_id in chosen.run_ids:
        was = f" (was excluded: {chosen.before[run_id]})" if run_id in chosen.before else ""
        stdout().print(text(f"{run_id} {decision}{was}"), soft_wrap=True)
    stdout().print(text(f"Sweeps that ask for these runs: {', '.join(chosen.sweeps) or 'none'}", "dim"))
