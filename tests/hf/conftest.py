"""Real models through the real libraries of Hugging Face, which `make test-hf` installs. Nothing is downloaded."""

import os

import pytest

# Before any of these libraries is imported.
os.environ |= {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}


@pytest.fixture(scope="session", autouse=True)
def _home(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Nothing is read from, or written to, the user's own cache of models."""
    os.environ["HF_HOME"] = str(tmp_path_factory.mktemp("hf-home"))
