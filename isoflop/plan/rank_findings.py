"""What a reader should know before several devices train one run."""

from isoflop.finding import Finding, Severity


def slow_ranks(devices_per_run: int) -> Finding:
    """The finding that cores share a run where each could have one of its own."""
    return Finding(
        "data_parallel_on_cpu",
        Severity.WARNING,
        f"{devices_per_run} CPU cores train each run together, which takes longer than one core alone: 26 s against 12 "
        "to 15 s were measured with 2.",
        "Leave out run.devices_per_run on CPUs: cores are of more use with a run each. It is meant for GPUs.",
        {"devices_per_run": devices_per_run},
    )
