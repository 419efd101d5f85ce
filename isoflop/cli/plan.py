"""`isoflop plan`: what a sweep would train, and what it would cost."""

from isoflop.cli.options import (
    DEFAULT_ARTIFACTS,
    DEFAULT_DB,
    Artifacts,
    AsJson,
    Database,
    Device,
    DeviceChoice,
    SweepFile,
    Workers,
)


def plan(
    sweep: SweepFile,
    db: Database = DEFAULT_DB,
    artifacts: Artifacts = DEFAULT_ARTIFACTS,
    device: Device = DeviceChoice.AUTO,
    workers: Workers = None,
    json: AsJson = False,
) -> None:
    """Lay out the grid: which sizes on how many tokens at each budget, what is dropped and why, time and disk.

    Records the plan in the database. Planning again changes nothing unless the sweep file changed.
    """
    from isoflop.cli.console import stdout
    from isoflop.cli.sweep import lock_path, plan_sweep
    from isoflop.engine.devices import local_slots
    from isoflop.plan.estimate import disk_bytes, estimate
    from isoflop.report.json import dumps
    from isoflop.report.plan_view import plan_document, print_plan
    from isoflop.spec import load_spec
    from isoflop.store import open_store, sweep_lock

    spec = load_spec(sweep)
    slots = local_slots(device.value, workers)
    with sweep_lock(lock_path(db, spec.name), spec.name), open_store(db, write=True) as store:
        planned = plan_sweep(spec, sweep, artifacts, slots)
        store.save_plan(spec, planned.plan)
        timings = [timing for timing in store.throughput() if timing.device == slots[0].name]
    runs = list(planned.plan.runs.values())
    cost = estimate(runs, timings, device_kind=slots[0].kind, devices=[slot.name for slot in slots])
    if json:
        print(dumps(plan_document(planned.plan, cost)))
    else:
        print_plan(planned.plan, cost, disk_bytes(runs, len(slots)), stdout())
