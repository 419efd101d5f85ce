"""A built standard-library corpus, and corpora made of the texts a test names."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from isoflop.corpus import Corpus, open_corpus
from isoflop.corpus.shards import SHARD_TOKENS
from isoflop.spec import CorpusSpec, TokenizerSpec

BuildCorpus = Callable[..., Corpus]


@pytest.fixture(scope="session")
def stdlib_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("stdlib")


@pytest.fixture(scope="session")
def stdlib(stdlib_root: Path) -> Corpus:
    return open_corpus(CorpusSpec(), TokenizerSpec(), root=stdlib_root, base=Path())


@pytest.fixture
def build(tmp_path: Path) -> BuildCorpus:
    """`build({"a.txt": b"text"}, heldout_fraction=0.1)` is the corpus of these files."""

    def build(texts: Mapping[str, bytes], *, shard_tokens: int = SHARD_TOKENS, **options: object) -> Corpus:
        for name, text in texts.items():
            path = tmp_path / "texts" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(text)
        spec = CorpusSpec.model_validate({"source": "files", "paths": ("texts",), **options})
        return open_corpus(spec, TokenizerSpec(), root=tmp_path / "root", base=tmp_path, shard_tokens=shard_tokens)

    return build
