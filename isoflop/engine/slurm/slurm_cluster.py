"""Slurm as a cluster: sbatch, squeue, sacct and scancel, with accounting and without.

No shell string is made: sbatch gets a script that never changes, and the words of a command as its arguments.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

from isoflop.engine.pilots.cluster import ClusterAwayError, JobState, JobStatus
from isoflop.errors import IsoflopError
from isoflop.files import write_atomically
from isoflop.spec import SlurmSpec

# Reads the user's set-up where there is one, and becomes the pilot: so signals for the batch shell are its.
_SCRIPT = """\
#!/bin/sh
[ -z "$1" ] || . "$1" || exit 90
shift
exec "$@" "$SLURM_ARRAY_TASK_ID"
"""
_COMMANDS = ("sbatch", "squeue", "scancel")
_SUBMIT_SECONDS, _ASK_SECONDS = 60.0, 20.0
_TOO_LONG = 124
# Variables that would have squeue leave jobs out, or sbatch ask for something else.
_FILTERS = ("SQUEUE_", "SBATCH_", "SACCT_")
# What a job would inherit from a shell that runs in another one, or was given GPUs: sbatch passes its environment on.
_OF_ANOTHER_JOB = re.compile(r"CUDA_VISIBLE_DEVICES|SLURM_(?!CONF$|CLUSTERS$).*")
# How sbatch says that nobody answered; whatever else it says was said by Slurm.
_AWAY = (
    *("Unable to contact slurm controller", "Socket timed out", "Connection refused", "Connection timed out"),
    *("resolve_ctls_from_dns_srv", "configuration source", "s_p_parse_file"),  # no slurm.conf is found
)
_FIELDS = "JobArrayID:|,State:|,exit_code:|,NodeList:|,ReasonList:|,Name:|"
# Job states (squeue(1), JOB STATE CODES); a word that is none of them says nothing.
_STATES = {
    JobState.QUEUED: {"PENDING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "RESV_DEL_HOLD", "SPECIAL_EXIT"},
    JobState.RUNNING: {"RUNNING", "CONFIGURING", "COMPLETING", "RESIZING", "SIGNALING", "STAGE_OUT"},
    JobState.SUSPENDED: {"SUSPENDED", "STOPPED"},
    JobState.ENDED: {
        *("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "LAUNCH_FAILED", "NODE_FAIL", "OUT_OF_MEMORY"),
        *("PREEMPTED", "RECONFIG_FAIL", "REVOKED", "TIMEOUT"),
    },
}
# What sbatch says, and what a person can do; of an account it says what might be wrong with its partition, too.
_HINTS = (
    ("account", "`sacctmgr show associations user=$USER` lists yours: --engine-option account=NAME."),
    ("partition", "`sinfo` lists the partitions: --engine-option partition=NAME, or [engine.slurm] partition."),
    ("qos", "Name one that you may use: --engine-option qos=NAME."),
    ("generic resource", "`sinfo -o '%P %G'` lists what nodes have: --engine-option gres=gpu:1."),
    ("node configuration", "No node has what was asked for: look at gres, mem, cpus_per_task and constraint."),
    ("feature", "`sinfo -o '%P %f'` lists what nodes have: --engine-option constraint=FEATURE."),
    ("--time specification", "Say it as HH:MM:SS, D-HH or minutes: --engine-option time=4:00:00."),
    ("time limit", "The partition's limit is shorter (`sinfo`): --engine-option time=LIMIT."),
)
_AWAY_HINT = "Is this a login node of the cluster, and is slurmctld up? `scontrol ping` says."


class SlurmCluster:
    """The Slurm that the commands on PATH talk to.

    Args:
        sweep: its name is part of the jobs' name.
        folder: of the sweep file.
    """

    name, engine, cancel_command = "Slurm", "slurm", "scancel"

    def __init__(self, options: SlurmSpec, sweep: str, folder: Path) -> None:
        """See the class.

        Raises:
            IsoflopError: no Slurm on PATH, or no such set-up file.
        """
        self._options, self._sweep = options, sweep
        self._names: dict[str, str] = {}  # of the jobs, by job
        self._setup = (folder / options.setup).resolve() if options.setup else None
        missing = [command for command in _COMMANDS if shutil.which(command) is None]
        if missing:
            raise IsoflopError(
                f"There is no `{missing[0]}` on PATH, so no Slurm to run on.",
                hint="Run this on a login node of the cluster, or without --engine on this machine's devices.",
            )
        if self._setup is not None and not self._setup.is_file():
            raise IsoflopError(
                f"[engine.slurm] setup names {str(self._setup)!r}, which is not a file.",
                hint="Name a shell script, relative to the sweep file.",
            )

    def submit(self, folder: Path, number: int) -> list[str]:
        """See `Cluster`: one job array."""
        script = folder / "pilot.sh"
        write_atomically(script, _SCRIPT.encode())
        write_atomically(folder / "slurm.json", self._options.model_dump_json(indent=1).encode())
        python = self._options.python or sys.executable
        pilot = [str(self._setup or ""), python, "-P", "-m", "isoflop.engine.pilots.pilot_start", str(folder)]
        done = _run(["sbatch", *self._words(folder, number), str(script), *pilot], _SUBMIT_SECONDS)
        if done.returncode != 0:
            raise _refused(done.stderr, away=done.returncode == _TOO_LONG)
        job_id = done.stdout.strip().partition(";")[0]
        if not job_id.isdecimal():
            raise IsoflopError(
                f"sbatch answered {done.stdout.strip()[:100]!r}, which is not a job's number.",
                hint="`squeue --me` shows whether a job was submitted; `scancel` ends it.",
            )
        return self._called([f"{job_id}_{index}" for index in range(number)], folder)

    def _words(self, folder: Path, number: int) -> Iterator[str]:
        """What sbatch is asked for."""
        options = self._options
        yield from ("--parsable", "--no-requeue", "--nodes=1", "--ntasks=1")
        yield f"--array=0-{number - 1}%{number}"
        yield f"--job-name={self._job_name(folder)}"
        yield f"--output={str(folder).replace('%', '%%')}/%a/log.txt"
        yield f"--signal=B:USR2@{options.signal_seconds}"
        for key in ("partition", "account", "qos", "time", "gres", "constraint", "cpus_per_task", "mem", "exclude"):
            value = getattr(options, key)
            if value is not None:
                yield f"--{key.replace('_', '-')}={value}"
        yield from options.sbatch

    def _job_name(self, folder: Path) -> str:
        return f"isoflop-{self._sweep}-{folder.name}"

    def _called(self, jobs: list[str], folder: Path) -> list[str]:
        """The jobs, whose name is known from now on."""
        self._names |= dict.fromkeys(jobs, self._job_name(folder))
        return jobs

    def know(self, jobs: Sequence[str], folder: Path) -> None:
        """See `Cluster`."""
        self._called(list(jobs), folder)

    def states(self, jobs: Collection[str]) -> Mapping[str, JobStatus]:
        """See `Cluster`: one squeue; one sacct more for jobs that it has forgotten."""
        names = sorted({self._names[job] for job in jobs if job in self._names})
        listed = self._squeue(names) if names else {}
        if listed is None:
            return {}
        states = {job: listed[job] for job in jobs if job in listed}
        forgotten = [job for job in jobs if job not in states]
        return states | (self._sacct(forgotten) if forgotten else {})

    def _squeue(self, names: Sequence[str]) -> dict[str, JobStatus] | None:
        """The jobs of these names; None where Slurm does not answer."""
        command = [
            "squeue",
            "--all",
            "--noheader",
            "--array",
            "--states=all",
            f"--name={','.join(names)}",
            "-O",
            _FIELDS,
        ]
        done = _run(command)
        if done.returncode != 0:
            return None
        found: dict[str, JobStatus] = {}
        for line in done.stdout.splitlines():
            job, state, code, node, reason, *_ = [field.strip() for field in line.split("|")] + [""] * 5
            found[job] = _status(state, reason, _of_wait(code), node)
        return found

    def _sacct(self, jobs: Sequence[str]) -> dict[str, JobStatus]:
        """What accounting knows of jobs that have left the queue; UNKNOWN without it."""
        unknown = dict.fromkeys(jobs, JobStatus(JobState.UNKNOWN))
        if shutil.which("sacct") is None:
            return unknown
        fields = "JobID,State,ExitCode,NodeList"
        done = _run(["sacct", "-X", "-n", "-P", f"--jobs={','.join(jobs)}", f"--format={fields}"])
        for line in done.stdout.splitlines() if done.returncode == 0 else []:
            listed, state, code, node, *_ = [*line.split("|"), "", "", "", ""]
            number, _, signal = code.partition(":")
            status = _status(state.partition(" ")[0], "", _code(number, signal), node)
            unknown |= {job: status for job in _tasks(listed) if job in unknown}
        return unknown

    def find(self, folder: Path) -> dict[int, str]:
        """See `Cluster`: by the name that the array was given."""
        listed = self._squeue([self._job_name(folder)])
        if listed is None:
            raise ClusterAwayError("Slurm does not answer.", hint=_AWAY_HINT)
        numbered = {int(match[1]): job for job in listed if (match := re.fullmatch(r"\d+_(\d+)", job))}
        self._called(list(numbered.values()), folder)
        return numbered

    def cancel(self, jobs: Sequence[str]) -> bool:
        """See `Cluster`."""
        return _run(["scancel", *jobs]).returncode == 0

    def exchange(self) -> None:
        """See `Cluster`: nothing, nodes share storage with this machine."""

    def close(self) -> None:
        """See `Cluster`: nothing is held."""


def _run(command: Sequence[str], seconds: float = _ASK_SECONDS) -> "subprocess.CompletedProcess[str]":
    """The command, done; 124 where it took too long, 127 where it could not be started."""
    try:
        return subprocess.run(  # noqa: S603 - words of our own and of the sweep file, no shell
            command,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
            stdin=subprocess.DEVNULL,
            env={name: value for name, value in os.environ.items() if not _is_unwanted(name)},
        )
    except subprocess.TimeoutExpired:
        said = f"{command[0]} did not answer in {seconds:.0f} s"
        return subprocess.CompletedProcess(list(command), _TOO_LONG, "", said)
    except OSError as error:
        return subprocess.CompletedProcess(list(command), 127, "", f"{command[0]}: {error.strerror}")


def _is_unwanted(variable: str) -> bool:
    return variable.startswith(_FILTERS) or _OF_ANOTHER_JOB.fullmatch(variable) is not None


def _tasks(job: str) -> list[str]:
    """The jobs that sacct has in one line: "12_[0-2,5%3]" is four tasks that never began."""
    array, bracket, listed = job.rstrip("]").partition("_[")
    if not bracket:
        return [job]
    spans = [span.partition("-") for span in listed.partition("%")[0].split(",")]
    whole = [(first, last or first) for first, _, last in spans if first.isdecimal() and (last or first).isdecimal()]
    return [f"{array}_{index}" for first, last in whole for index in range(int(first), int(last) + 1)]


def _status(state: str, reason: str, code: int | None, node: str) -> JobStatus:
    """As Slurm's words have it."""
    reason = reason.strip("()")
    said = f"{state}, {reason}" if reason and reason not in ("None", node) else state
    kind = next((kind for kind, words in _STATES.items() if state in words), JobState.UNKNOWN)
    ended = kind is JobState.ENDED
    return JobStatus(
        kind,
        said,
        exit_code=code if ended else None,
        node="" if kind is JobState.QUEUED else node,
        out_of_memory=state == "OUT_OF_MEMORY",
    )


def _of_wait(code: str) -> int | None:
    """An exit code of squeue's, which is what wait(2) gives."""
    return int(code) >> 8 if code.isdecimal() else None


def _code(number: str, signal: str) -> int | None:
    if not number.isdecimal():
        return None
    return -int(signal) if signal.isdecimal() and int(signal) else int(number)


def _refused(said: str, *, away: bool) -> IsoflopError:
    """What sbatch said, as one sentence, with what to do about it; `away` where it did not come to an end."""
    lines = [line.removeprefix("sbatch: error: ").strip() for line in said.splitlines() if line.strip()]
    sentence = (lines[0] if lines else "no reason was given").rstrip(".")
    hint = next((hint for word, hint in _HINTS if any(word.lower() in line.lower() for line in lines)), None)
    if away or any(words in line for words in _AWAY for line in lines):
        return ClusterAwayError(f"Slurm does not answer: {sentence}.", hint=_AWAY_HINT)
    return IsoflopError(
        f"Slurm refuses the jobs: {sentence}.",
        hint=hint or "See `man sbatch` for what it means, and [engine.slurm] of the sweep file.",
    )
