"""Datasets of Hugging Face's: the spool everywhere, the library itself where it is installed."""

import builtins
import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from isoflop.corpus import Corpus, count_corpus, open_corpus
from isoflop.errors import IsoflopError
from isoflop.spec import CorpusSpec, TokenizerSpec

needs_datasets = pytest.mark.skipif(
    importlib.util.find_spec("datasets") is None, reason="the library `datasets` is not installed"
)
DOCUMENTS = [f"Document {n} of the dataset.\n" * (1 + n % 3) for n in range(80)]


def spec(**keys: object) -> CorpusSpec:
    asked = {"source": "hf", "dataset": "set", "max_bytes": 10**9, "heldout_fraction": 0.2, **keys}
    return CorpusSpec.model_validate(asked)


def opened(base: Path, **keys: object) -> Corpus:
    return open_corpus(spec(**keys), TokenizerSpec(), root=base / "root", base=base)


def put(base: Path, documents: list[Any]) -> None:
    (base / "set").mkdir(exist_ok=True)
    parquet.write_table(pa.table({"text": documents, "id": range(len(documents))}), base / "set" / "train.parquet")


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))


@needs_datasets
@pytest.mark.usefixtures("offline")
def test_a_dataset_gives_the_corpus_of_its_texts_as_files(tmp_path: Path) -> None:
    put(tmp_path, [*DOCUMENTS, None, ""])
    (tmp_path / "texts").mkdir()
    for n, text in enumerate(DOCUMENTS):
        (tmp_path / "texts" / f"{n:03d}.txt").write_text(text)
    corpus = opened(tmp_path)
    files = CorpusSpec(source="files", paths=("texts",), heldout_fraction=0.2)
    assert corpus.manifest.fingerprint == (
        open_corpus(files, TokenizerSpec(), root=tmp_path / "root", base=tmp_path).manifest.fingerprint
    )
    assert corpus.manifest.n_empty_dropped == 2
    assert ", split train, all, revision " in corpus.manifest.source
    assert "unknown" not in corpus.manifest.source


@needs_datasets
@pytest.mark.usefixtures("offline")
def test_a_dataset_is_fetched_once_up_to_its_cap_and_again_when_it_changed(tmp_path: Path) -> None:
    put(tmp_path, DOCUMENTS)
    first = opened(tmp_path, max_bytes=500).manifest
    assert 500 <= first.n_train_bytes + first.n_heldout_bytes < 500 + max(map(len, DOCUMENTS))
    spools = sorted((tmp_path / "root" / "spools").glob("*.jsonl"))
    assert opened(tmp_path, max_bytes=500).manifest == first
    assert sorted((tmp_path / "root" / "spools").glob("*.jsonl")) == spools
    put(tmp_path, DOCUMENTS[::-1])
    assert opened(tmp_path, max_bytes=500).manifest.fingerprint != first.fingerprint


@needs_datasets
@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"split": "nope"}, "split 'nope': Bad split: nope"),
        ({"subset": "nope"}, "BuilderConfig 'nope' not found"),
        ({"dataset": "nobody/nothing"}, "Cannot fetch the dataset 'nobody/nothing'"),
        ({"field": "body"}, "has no field 'body': it has 'text', 'id'"),
        ({"field": "id"}, "record 1: 'id' is of type int, not text"),
    ],
)
def test_what_a_dataset_lacks_is_said_and_nothing_is_left(tmp_path: Path, keys: dict[str, object], said: str) -> None:
    put(tmp_path, DOCUMENTS)
    with pytest.raises(IsoflopError) as refused:
        opened(tmp_path, **keys)
    assert said in refused.value.message and "\n" not in refused.value.message
    assert {path.name for path in (tmp_path / "root" / "spools").iterdir()} == {"lock"}


def test_a_dry_count_fetches_nothing(tmp_path: Path) -> None:
    with pytest.raises(IsoflopError, match="has not been fetched yet"):
        count_corpus(spec(), TokenizerSpec(), root=tmp_path / "root", base=tmp_path)
    assert not (tmp_path / "root").exists()


def test_without_the_library_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any) -> ModuleType:
        if name == "datasets":
            raise ImportError(name)
        module: ModuleType = real(name, *rest)
        return module

    monkeypatch.delitem(sys.modules, "datasets", raising=False)
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(IsoflopError, match="needs the library `datasets`") as refused:
        opened(tmp_path)
    assert "isoflop[hf]" in refused.value.hint


@needs_datasets
@pytest.mark.usefixtures("offline")
def test_the_spool_says_what_was_fetched(tmp_path: Path) -> None:
    put(tmp_path, DOCUMENTS)
    opened(tmp_path)
    about = json.loads(next((tmp_path / "root" / "spools").glob("*.json")).read_bytes())
    assert (about["n_records"], about["is_whole"]) == (80, True)
    assert about["n_bytes"] == sum(map(len, DOCUMENTS))


@needs_datasets
@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize("n_shards", [1, 3])
def test_what_the_library_saves_to_disk_is_read_without_it(tmp_path: Path, n_shards: int) -> None:
    from datasets import Dataset, DatasetDict

    saved = Dataset.from_dict({"text": [*DOCUMENTS, None], "id": range(len(DOCUMENTS) + 1)})
    DatasetDict({"train": saved, "test": saved.select([0])}).save_to_disk(
        tmp_path / "saved", num_shards={"train": n_shards, "test": 1}
    )
    (tmp_path / "a.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in DOCUMENTS))
    manifests = [
        open_corpus(
            CorpusSpec(source=source, paths=(path,), heldout_fraction=0.2, pattern=pattern),
            TokenizerSpec(),
            root=tmp_path / "root",
            base=tmp_path,
        ).manifest
        for source, path, pattern in (("arrow", "saved/train", "data-*.arrow"), ("jsonl", "a.jsonl", "*"))
    ]
    assert len(list((tmp_path / "saved" / "train").glob("*.arrow"))) == n_shards
    assert (manifests[0].fingerprint, manifests[0].n_empty_dropped) == (manifests[1].fingerprint, 1)
