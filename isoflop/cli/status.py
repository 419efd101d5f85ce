"""`isoflop status`: how a sweep stands, without touching it."""

from isoflop.cli.options import DEFAULT_ARTIFACTS, DEFAULT_DB, Artifacts, AsJson, Database, SweepFile


def status(
    sweep: SweepFile,
    db: Database = DEFAULT_DB,
    artifacts: Artifacts = DEFAULT_ARTIFACTS,
    json: AsJson = False,
) -> None:
    """Show the state of a sweep: losses by budget and size, running workers, time left, failures with reasons and logs.

    Only reads. Works while `isoflop run` trains, after it was killed, and from the database alone.
    """
    from isoflop.cli.console import stdout
    from isoflop.spec import load_spec
    from isoflop.status.sweep_status import read_status
    from isoflop.sweep.locks import lock_path
    from isoflop.view.document import dumps
    from isoflop.view.status_document import status_document
    from isoflop.view.status_view import print_status

    spec = load_spec(sweep)
    found = read_status(spec, sweep, db=db, lock=lock_path(db, spec.name), artifacts=artifacts)
    if json:
        print(dumps(status_document(found)))
    else:
        options = [] if db == DEFAULT_DB else ["--db", str(db)]
        print_status(found, stdout(), arguments=[str(sweep), *options])
