"""What the exit code of a worker's process says to an engine. Any other code, or a signal, is a crash."""

from enum import IntEnum


class ExitCode(IntEnum):
    """How a worker ended. From 74: sysexits.h leaves most of these to programs, and no signal's shell code is there."""

    DONE = 0
    """Every run of the job has a result."""
    OBSTACLE = 74
    """Something stands in the way of every run (no corpus, no room); events.jsonl says what. No result."""
    CHECKPOINTED = 75
    """Asked to stop, and did; the state to go on from is written."""
    BUSY = 76
    """Another process works on the job."""
    OUT_OF_MEMORY = 77
    """The device, or the machine, had no more memory to give. No result."""
    BAD_JOB = 78
    """job.json is missing or none of this version."""
    STEP_UNAVAILABLE = 80
    """The optimizer step that job.json names is not to be had here: no graph of it, or no library. No result."""
    ORPHANED = 79
    """The coordinator died, and the worker did not come to an end by itself in time."""
    DEVICE_FAILED = 82
    """The GPU, or its driver, reported an error that is not the run's. No result."""
    RANK_LOST = 81
    """Another process that trains the same run ended before its time. No result."""
    FENCED = 84
    """The attempt was given up while it ran: what it came to does not count. No result."""
    UNASKED = 83
    """The user's program exited as one that was asked to stop (75), and nobody had asked it. No result."""
