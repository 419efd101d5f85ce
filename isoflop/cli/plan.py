"""`isoflop plan`: what a sweep would train, and what it would cost."""

from isoflop.cli.options import (
    DEFAULT_ARTIFACTS,
    DEFAULT_DB,
    Artifacts,
    AsJson,
    Database,
    Device,
    DeviceName,
    SweepFile,
    Workers,
)


def plan(
    sweep: SweepFile,
    db: Database = DEFAULT_DB,
    artifacts: Artifacts = DEFAULT_ARTIFACTS,
    device: Device = DeviceName.AUTO,
    workers: Workers = None,
    json: AsJson = False,
) -> None:
    """Lay out the grid: which sizes on how many tokens at each budget, what is dropped and why, time and disk.

    Records the plan in the database. Planning again changes nothing unless the sweep file changed.
    """
    from isoflop.cli.console import stdout
    from isoflop.cli.sweep import cost, lock_path, plan_sweep
    from isoflop.plan.estimate import disk_bytes
    from isoflop.report.json import dumps
    from isoflop.report.plan_view import plan_document, print_plan
    from isoflop.spec import load_spec
    from isoflop.store import open_store, sweep_lock

    spec = load_spec(sweep)
    with sweep_lock(lock_path(db, spec.name), spec.name), open_store(db, write=True) as store:
        planned = plan_sweep(spec, sweep, artifacts, device=device.value, workers=workers)
        store.save_plan(spec, planned.plan)
        estimate = cost(planned, store.throughput())
    if json:
        print(dumps(plan_document(planned.plan, estimate)))
    else:
        disk = disk_bytes(planned.plan.runs.values(), len(planned.slots))
        print_plan(planned.plan, estimate, disk, stdout())
