"""What is made of what Slurm's commands say, with shell scripts in their place."""

import os
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from isoflop.engine.pilots.cluster import ClusterAwayError, JobState, JobStatus
from isoflop.engine.slurm import slurm_cluster
from isoflop.engine.slurm.slurm_cluster import SlurmCluster
from isoflop.errors import IsoflopError
from isoflop.spec import SlurmSpec

Commands = Callable[..., None]
# A line of squeue as it is asked for: job, state, code as wait(2) gives it, nodes, reason, name.
LINE = "{job}|{state}|{code}|{node}|{reason}|isoflop-s-1-ab|"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the commands are, which is all there is on PATH beside the system's own."""
    made = tmp_path / "bin"
    made.mkdir()
    monkeypatch.setenv("PATH", f"{made}:/usr/bin:/bin")
    for variable in [name for name in os.environ if name.startswith(("SQUEUE_", "SBATCH_", "SACCT_", "SLURM_"))]:
        monkeypatch.delenv(variable)
    return made


@pytest.fixture
def commands(place: Path) -> Commands:
    """Writes commands that note their words in a file of their name, and do what is said for each."""

    def write(**texts: str) -> None:
        for name in ("sbatch", "squeue", "scancel", "sacct"):
            note = f'echo "$@" >> {shlex.quote(str(place))}/{name}.asked'
            (place / name).write_text(f"#!/bin/sh\n{note}\n{texts.get(name, '')}\n")
            (place / name).chmod(0o755)

    write()
    return write


@pytest.fixture
def cluster(commands: Commands, tmp_path: Path) -> SlurmCluster:
    return SlurmCluster(SlurmSpec(), "s", tmp_path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "1-ab"
    made.mkdir()
    return made


def says(text: str) -> str:
    """The command for a shell that prints this."""
    return f"printf '%s\\n' {shlex.quote(text)}"


def asked(place: Path, command: str) -> list[str]:
    """The words of each call of the command, a line each."""
    noted = place / f"{command}.asked"
    return noted.read_text().splitlines() if noted.exists() else []


@pytest.mark.parametrize("missing", ["sbatch", "squeue", "scancel"])
def test_a_machine_without_slurm_is_told_by_the_command_that_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    there = {"sbatch", "squeue", "scancel"} - {missing}
    monkeypatch.setattr(slurm_cluster.shutil, "which", lambda name: name if name in there else None)
    with pytest.raises(IsoflopError, match=f"There is no `{missing}` on PATH"):
        SlurmCluster(SlurmSpec(), "s", tmp_path)


def test_a_set_up_file_that_is_not_there_is_told_with_where_it_was_looked_for(
    commands: Commands, tmp_path: Path
) -> None:
    with pytest.raises(IsoflopError, match="which is not a file") as caught:
        SlurmCluster(SlurmSpec(setup="modules.sh"), "s", tmp_path)
    assert str(tmp_path / "modules.sh") in caught.value.message
    (tmp_path / "modules.sh").touch()
    SlurmCluster(SlurmSpec(setup="modules.sh"), "s", tmp_path)


# As slurm_strerror has it (src/common/slurm_errno.c).
@pytest.mark.parametrize(
    ("said", "sentence", "hint"),
    [
        (
            "sbatch: error: invalid partition specified: gpu\n"
            "sbatch: error: Batch job submission failed: Invalid partition name specified",
            "Slurm refuses the jobs: invalid partition specified: gpu.",
            "partition=NAME",
        ),
        (
            "sbatch: error: Batch job submission failed: Invalid account or account/partition combination specified",
            "Slurm refuses the jobs: Batch job submission failed: Invalid account or account/partition combination "
            "specified.",
            "account=NAME",
        ),
        ("sbatch: error: Batch job submission failed: Invalid qos specification", "Invalid qos", "qos=NAME"),
        ("sbatch: error: Invalid generic resource (gres) specification", "(gres) specification.", "gres=gpu:1"),
        ("Batch job submission failed: Requested node configuration is not available", "not available.", "cpus"),
        ("Batch job submission failed: Requested time limit is invalid", "time limit is invalid.", "time=LIMIT"),
        ("sbatch: error: Batch job submission failed: Invalid feature specification", "feature", "constraint=FEATURE"),
        ("sbatch: error: Invalid --time specification", "Invalid --time", "HH:MM:SS"),
        ("sbatch: error: It rains.\n", "Slurm refuses the jobs: It rains.", "man sbatch"),
        ("", "Slurm refuses the jobs: no reason was given.", "man sbatch"),
    ],
)
def test_a_refusal_is_slurms_first_sentence_with_what_to_do_about_it(
    cluster: SlurmCluster, commands: Commands, folder: Path, said: str, sentence: str, hint: str
) -> None:
    commands(sbatch=f"{says(said)} >&2\nexit 1")
    with pytest.raises(IsoflopError) as caught:
        cluster.submit(folder, 1)
    assert not isinstance(caught.value, ClusterAwayError)
    assert sentence in caught.value.message
    assert "sbatch: error" not in caught.value.message
    assert hint in caught.value.hint


@pytest.mark.parametrize(
    "said",
    [
        "sbatch: error: Batch job submission failed: Unable to contact slurm controller (connect failure)",
        "sbatch: error: slurm_receive_msgs: Socket timed out on send/recv operation",
        "sbatch: error: resolve_ctls_from_dns_srv: res_nsearch error: Unknown host",
        "sbatch: error: s_p_parse_file: cannot stat file /nonexistent: No such file or directory, retrying in 1sec",
        "sbatch: error: If munged is up\nsbatch: error: Batch job submission failed: Connection refused",
    ],
)
def test_a_controller_that_does_not_answer_has_refused_nothing(
    cluster: SlurmCluster, commands: Commands, folder: Path, said: str
) -> None:
    commands(sbatch=f"{says(said)} >&2\nexit 1")
    with pytest.raises(ClusterAwayError, match="Slurm does not answer: ") as caught:
        cluster.submit(folder, 1)
    assert "scontrol ping" in caught.value.hint


def test_an_sbatch_that_hangs_is_a_cluster_that_is_away(
    cluster: SlurmCluster, commands: Commands, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slurm_cluster, "_SUBMIT_SECONDS", 0.1)
    commands(sbatch="exec sleep 20")
    with pytest.raises(ClusterAwayError, match=r"Slurm does not answer: sbatch did not answer in 0 s\."):
        cluster.submit(folder, 1)


def test_an_sbatch_that_cannot_be_started_is_a_refusal_that_says_why(
    cluster: SlurmCluster, place: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(place))
    (place / "sbatch").chmod(0o644)
    with pytest.raises(IsoflopError, match=r"Slurm refuses the jobs: sbatch: Permission denied\."):
        cluster.submit(folder, 1)


@pytest.mark.parametrize("answer", ["", "Submitted batch job 7", "7x"])
def test_an_answer_that_is_no_number_is_shown(
    cluster: SlurmCluster, commands: Commands, folder: Path, answer: str
) -> None:
    commands(sbatch=says(answer))
    with pytest.raises(IsoflopError, match=f"sbatch answered '{answer}', which is not a job's number") as caught:
        cluster.submit(folder, 1)
    assert "scancel" in caught.value.hint


def test_jobs_are_asked_for_by_name_and_the_name_of_a_cluster_is_no_part_of_their_number(
    cluster: SlurmCluster, commands: Commands, place: Path, folder: Path
) -> None:
    lines = [
        LINE.format(job="7_0", state="RUNNING", code="0", node="n1", reason="None"),
        LINE.format(job="7_1", state="PENDING", code="0", node="", reason="(Resources)"),
        LINE.format(job="8_0", state="RUNNING", code="0", node="n1", reason="None"),
    ]
    commands(sbatch="echo '7;cluster'", squeue=says("\n".join(lines)))
    jobs = cluster.submit(folder, 2)
    assert jobs == ["7_0", "7_1"]
    assert cluster.states(jobs) == {
        "7_0": JobStatus(JobState.RUNNING, "RUNNING", None, "n1"),
        "7_1": JobStatus(JobState.QUEUED, "PENDING, Resources", None, ""),
    }
    [words] = asked(place, "squeue")
    assert "--name=isoflop-s-1-ab " in words
    assert not asked(place, "sacct"), "squeue knew them all"


@pytest.mark.parametrize(
    ("state", "code", "expected"),
    [
        ("FAILED", "256", JobStatus(JobState.ENDED, "FAILED, NonZeroExitCode", 1, "n1")),
        ("COMPLETED", "0", JobStatus(JobState.ENDED, "COMPLETED, NonZeroExitCode", 0, "n1")),
        ("OUT_OF_MEMORY", "N/A", JobStatus(JobState.ENDED, "OUT_OF_MEMORY, NonZeroExitCode", None, "n1", True)),
        ("RUNNING", "256", JobStatus(JobState.RUNNING, "RUNNING, NonZeroExitCode", None, "n1")),
    ],
)
def test_the_words_of_the_queue(
    cluster: SlurmCluster, commands: Commands, folder: Path, state: str, code: str, expected: JobStatus
) -> None:
    commands(squeue=says(LINE.format(job="7_0", state=state, code=code, node="n1", reason="NonZeroExitCode")))
    cluster.know(["7_0"], folder)
    assert cluster.states(["7_0"]) == {"7_0": expected}


def test_where_squeue_does_not_answer_nothing_is_known_of_any_job(
    cluster: SlurmCluster, commands: Commands, place: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.know(["7_0"], folder)
    commands(squeue="exit 1", sacct="echo '7_0|COMPLETED|0:0|n1'")
    assert cluster.states(["7_0"]) == {}
    monkeypatch.setattr(slurm_cluster._run, "__defaults__", (0.1,))
    commands(squeue="exec sleep 20", sacct="echo '7_0|COMPLETED|0:0|n1'")
    assert cluster.states(["7_0"]) == {}
    assert not asked(place, "sacct")


def test_accounting_that_fails_or_is_not_there_leaves_jobs_unknown(
    cluster: SlurmCluster, commands: Commands, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unknown = {"7_0": JobStatus(JobState.UNKNOWN)}
    cluster.know(["7_0"], folder)
    commands(sacct="echo '7_0|COMPLETED|0:0|n1'; exit 1")
    assert cluster.states(["7_0"]) == unknown
    monkeypatch.setattr(slurm_cluster.shutil, "which", lambda name: None)
    commands(sacct="echo '7_0|COMPLETED|0:0|n1'")
    assert cluster.states(["7_0"]) == unknown


def test_a_job_whose_name_nobody_told_is_asked_of_accounting_alone(
    cluster: SlurmCluster, commands: Commands, place: Path
) -> None:
    commands(sacct="echo '9_0|FAILED|2:0|n3'; echo '9_1|CANCELLED by 0|0:15|n3'; echo '9_2|FAILED||n3'")
    found = cluster.states(["9_0", "9_1", "9_2"])
    assert {job: (status.state, status.exit_code) for job, status in found.items()} == {
        "9_0": (JobState.ENDED, 2),
        "9_1": (JobState.ENDED, -15),
        "9_2": (JobState.ENDED, None),
    }
    assert not asked(place, "squeue")


def test_jobs_of_a_folder_are_found_by_its_name(
    cluster: SlurmCluster, commands: Commands, place: Path, folder: Path
) -> None:
    lines = [
        LINE.format(job=job, state="RUNNING", code="0", node="n1", reason="None") for job in ("7_0", "7_12", "8", "7_x")
    ]
    commands(squeue=says("\n".join(lines)))
    assert cluster.find(folder) == {0: "7_0", 12: "7_12"}
    cluster.states(["7_12"])
    assert [" --name=isoflop-s-1-ab " in words for words in asked(place, "squeue")] == [True, True]
    commands(squeue="exit 1")
    with pytest.raises(ClusterAwayError, match=r"Slurm does not answer\."):
        cluster.find(folder)


def test_whether_slurm_took_in_that_jobs_are_to_end_is_told(
    cluster: SlurmCluster, commands: Commands, place: Path
) -> None:
    assert cluster.cancel(["7_0", "7_1"])
    assert asked(place, "scancel") == ["7_0 7_1"]
    commands(scancel="exit 1")
    assert not cluster.cancel(["7_0"])


def test_storage_is_shared_so_nothing_is_exchanged(cluster: SlurmCluster, place: Path) -> None:
    cluster.exchange()
    cluster.close()
    assert not list(place.glob("*.asked"))
