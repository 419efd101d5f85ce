from collections.abc import Iterator
from pathlib import Path

import pytest

from isoflop.run_spec import RunSpec
from isoflop.store import Store, open_store
from tests.store.store_examples import make_plan, make_run, make_spec


@pytest.fixture
def run() -> RunSpec:
    return make_run()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "isoflop.db"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    with open_store(path, write=True) as opened:
        yield opened


@pytest.fixture
def planned(store: Store, run: RunSpec) -> Store:
    """A store with a sweep `demo` of the one run."""
    store.save_plan(make_spec(), make_plan(run))
    return store
