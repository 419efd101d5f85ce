"""What Slurm is asked for, with commands that only write down what they were given."""

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from isoflop.engine.local.device_wish import ANY_DEVICE
from isoflop.engine.pilots.cluster import JobState
from isoflop.engine.slurm.slurm_cluster import SlurmCluster
from isoflop.errors import IsoflopError
from isoflop.spec import SlurmSpec, parse_spec, with_options
from isoflop.sweep.planning import sweep_corpus
from isoflop.sweep.workplace import EngineChoice, Workplace, staffed
from tests.config_changes import SLURM_VALUES

SBATCH = '#!/bin/sh\nfor word in "$@"; do echo "$word" >> "$ASKED"; done\n%s\n'


class Waited(Exception):
    """Everything has been asked for."""


def test_what_isoflop_counts_on_is_no_further_option() -> None:
    for word in (
        "--array=0-3",
        "--arr=1",
        "-a0-3",
        "--wait",
        "-W",
        "--requeue",
        "-Mother",
        "--wrap=id",
        "--job-name=x",
    ):
        with pytest.raises(IsoflopError, match="isoflop's own to say"):
            parse_spec({"name": "s", "budgets": [1e17], "engine": {"slurm": {"sbatch": [word]}}}, source="s.toml")
    for word in ("--reservation=july", "--wait-all-nodes=1", "--nodelist=n1", "-wn1", "--exclusive"):
        assert SlurmSpec(sbatch=(word,)).sbatch == (word,)


@pytest.mark.parametrize("time", ["1", "0:59", "0:1:0", "0-0", "1-0", "1-0:1", "61", "1:1", "0", "UNLIMITED"])
def test_a_time_limit_in_which_nothing_would_be_trained_is_refused(time: str) -> None:
    """As sbatch(1) reads them: minutes, M:S, H:M:S, D-H, D-H:M; 0 is no limit."""
    if time in ("1", "0:59", "0:1:0"):
        with pytest.raises(
            IsoflopError, match=r"--engine-option: time = '.*' is (60|59) s, .* nothing would be trained"
        ):
            with_options(SlurmSpec(), {"time": time})
    else:
        assert with_options(SlurmSpec(), {"time": time}).time == time


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ("SUSPENDED", JobState.SUSPENDED),
        ("COMPLETING", JobState.RUNNING),
        ("PENDING", JobState.QUEUED),
        ("OUT_OF_MEMORY", JobState.ENDED),
        ("CANCELLED by 0", JobState.ENDED),
        ("SOMETHING_NEW", JobState.UNKNOWN),
    ],
)
def test_the_words_of_accounting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: str, expected: JobState
) -> None:
    """Tasks that never began are one line there; a word that nobody knows is no end."""
    commands(
        tmp_path, monkeypatch, sacct=f"#!/bin/sh\necho '7_[0-1,3%2]|{state}|0:9|n1'\necho '7_2|COMPLETED|0:0|n2'\n"
    )
    cluster = SlurmCluster(SlurmSpec(), "s", tmp_path)
    cluster.know(["7_0", "7_1", "7_2", "7_3", "7_4"], tmp_path)
    states = cluster.states(["7_0", "7_1", "7_2", "7_3", "7_4"])
    assert [states[f"7_{index}"].state for index in (0, 1, 3)] == [expected] * 3
    assert states["7_2"].state is JobState.ENDED
    assert states["7_2"].exit_code == 0
    assert states["7_4"].state is JobState.UNKNOWN
    assert states["7_0"].out_of_memory == (state == "OUT_OF_MEMORY")


def test_jobs_inherit_nothing_of_the_job_that_they_are_submitted_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands(tmp_path, monkeypatch, sbatch='#!/bin/sh\nenv > "$ASKED"\necho 7\n')
    given = {"CUDA_VISIBLE_DEVICES": "3", "SLURM_MEM_PER_NODE": "1", "SLURM_JOB_ID": "5", "SBATCH_PARTITION": "x"}
    kept = {"SLURM_CONF": "/etc/s.conf", "CUDA_HOME": "/cuda", "OTHER": "1"}
    for name, value in (given | kept).items():
        monkeypatch.setenv(name, value)
    assert SlurmCluster(SlurmSpec(), "s", tmp_path).submit(tmp_path, 2) == ["7_0", "7_1"]
    names = {line.partition("=")[0] for line in (tmp_path / "asked").read_text().splitlines()}
    assert names >= set(kept)
    assert not names & set(given)


def commands(folder: Path, monkeypatch: pytest.MonkeyPatch, **texts: str) -> None:
    """Slurm's commands, these with the texts given; they are all there is on PATH beside the system's own."""
    there = folder / "bin"
    there.mkdir(exist_ok=True)
    for name in ("sbatch", "squeue", "scancel", "sacct"):
        (there / name).write_text(texts.get(name, "#!/bin/sh\n"))
        (there / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{there}:/usr/bin:/bin")
    monkeypatch.setenv("ASKED", str(folder / "asked"))


def asked(
    folder: Path, monkeypatch: pytest.MonkeyPatch, table: Mapping[str, object], ends: str = "echo 7"
) -> tuple[object, ...]:
    """The words of sbatch, pilot.json and what is waited for, of a sweep with this table [engine.slurm]."""
    commands(folder, monkeypatch, sbatch=SBATCH % ends)
    (folder / "setup.sh").touch()
    content = {"name": "s", "budgets": [1e17], "trainer": "simulated", "grid": {"sizes": 5}, "engine": {"slurm": table}}
    spec = parse_spec(content, source="s.toml")
    said: list[str] = []

    def tell(sentence: str) -> None:
        said.append(sentence)
        raise Waited

    place = Workplace("auto", None, ANY_DEVICE, EngineChoice("slurm", {}, tell))
    file, artifacts = folder / "s.toml", folder / "artifacts"
    corpus = sweep_corpus(spec, file, artifacts)
    with (
        pytest.raises(Waited),
        staffed(place, spec, corpus, sweep=file, db=folder / "db", artifacts=artifacts, pending=lambda planned: 9),
    ):
        pass
    (submission,) = (artifacts / "pilots").iterdir()
    words = (folder / "asked").read_text().replace(submission.name, "TOKEN").splitlines()
    pilot = json.loads((submission / "0" / "pilot.json").read_text()) | {"submitted_at": 0}
    return words, pilot, said, json.loads((submission / "slurm.json").read_text())["poll_seconds"]


@pytest.mark.parametrize("key", SLURM_VALUES)
def test_every_key_of_slurm_reaches_it_or_its_pilots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    for name in ("as it is", "changed"):
        (tmp_path / name).mkdir()
    before, after = (
        json.loads(json.dumps(asked(tmp_path / name, monkeypatch, table)).replace(name, "FOLDER"))
        for name, table in (("as it is", {}), ("changed", {key: SLURM_VALUES[key]}))
    )
    assert before != after


def test_all_keys_have_a_value_to_be_tried_with() -> None:
    assert set(SLURM_VALUES) == set(SlurmSpec.model_fields)


def test_words_are_words_whatever_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No shell reads them: a name with blanks and quotes is one word, an option in disguise is refused."""
    words, *_ = asked(tmp_path, monkeypatch, {"partition": "a b; touch $(oops) 'x'", "python": "/opt/my python"})
    assert isinstance(words, list)
    assert "--partition=a b; touch $(oops) 'x'" in words and "/opt/my python" in words
    with pytest.raises(IsoflopError, match="partition"):
        parse_spec({"name": "s", "budgets": [1e17], "engine": {"slurm": {"partition": "--wrap=id"}}}, source="s.toml")
