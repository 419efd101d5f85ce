"""`isoflop clean`: what no sweep of the database needs, and freeing it."""

from typing import Annotated

import typer

from isoflop.cli.options import DEFAULT_ARTIFACTS, DEFAULT_DB, Artifacts, AsJson, Database


def clean(
    db: Database = DEFAULT_DB,
    artifacts: Artifacts = DEFAULT_ARTIFACTS,
    yes: Annotated[bool, typer.Option("--yes", help="Delete what is listed; without --yes, nothing is.")] = False,
    json: AsJson = False,
) -> None:
    """List the files that no sweep of the database needs, with their size on the disk; --yes deletes them.

    These are final weights that `run.keep` does not ask for, checkpoints of runs that have ended, what an interrupted
    `run --again` left, runs and corpora that no sweep asks for, and temporary files of killed processes. Results,
    curves and logs of runs that a sweep asks for stay. Files unknown to this database stay too, as do files that
    another database with the same folder needs.
    """
    from contextlib import ExitStack

    from isoflop.artifacts.free import free
    from isoflop.artifacts.inventory import take_inventory
    from isoflop.artifacts.other_databases import needs_of, read_other_databases
    from isoflop.cli.console import stdout
    from isoflop.errors import IsoflopError
    from isoflop.store import read_snapshot
    from isoflop.sweep.locks import sweep_locks
    from isoflop.view.clean_view import clean_document, print_inventory
    from isoflop.view.document import dumps

    if not artifacts.is_dir():
        raise IsoflopError(
            f"There is no folder {str(artifacts)!r}.", hint="Name the folder of run directories with --artifacts."
        )
    with ExitStack() as held:
        if yes:
            held.enter_context(sweep_locks(db, read_snapshot(db, lambda store: store.sweep_names())))
        inventory = take_inventory(artifacts, *read_snapshot(db, needs_of), read_other_databases(artifacts, db))
        if yes:
            inventory = free(inventory)
    if json:
        print(dumps(clean_document(inventory, artifacts, db, freed=yes)))
    else:
        print_inventory(inventory, artifacts, db, stdout(), freed=yes)
