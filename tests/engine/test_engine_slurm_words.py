"""What Slurm is asked for, with commands that only write down what they were given."""

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from isoflop.engine.local.device_wish import ANY_DEVICE
from isoflop.errors import IsoflopError
from isoflop.spec import SlurmSpec, parse_spec
from isoflop.sweep.planning import sweep_corpus
from isoflop.sweep.workplace import EngineChoice, Workplace, staffed
from tests.config_changes import SLURM_VALUES

SBATCH = '#!/bin/sh\nfor word in "$@"; do echo "$word" >> "$ASKED"; done\n%s\n'


class Waited(Exception):
    """Everything has been asked for."""


def asked(
    folder: Path, monkeypatch: pytest.MonkeyPatch, table: Mapping[str, object], ends: str = "echo 7"
) -> tuple[object, ...]:
    """The words of sbatch, pilot.json and what is waited for, of a sweep with this table [engine.slurm]."""
    commands = folder / "bin"
    commands.mkdir(exist_ok=True)
    for name, text in (("sbatch", SBATCH % ends), ("squeue", "#!/bin/sh\n"), ("scancel", "#!/bin/sh\n")):
        (commands / name).write_text(text)
        (commands / name).chmod(0o755)
    (folder / "setup.sh").touch()
    monkeypatch.setenv("PATH", f"{commands}:/usr/bin:/bin")
    monkeypatch.setenv("ASKED", str(folder / "asked"))
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
