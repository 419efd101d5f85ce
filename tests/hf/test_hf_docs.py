"""The tasks of docs/evaluate.md, as they stand there."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.hf.exports import make_example

pytest.importorskip("lm_eval")

PAGE = (Path(__file__).parents[2] / "docs" / "evaluate.md").read_text(encoding="utf-8")


def test_the_command_and_the_three_tasks_of_the_page_run(tmp_path: Path) -> None:
    make_example("64k", tmp_path / "model")
    (tmp_path / "tasks").mkdir()
    blocks = re.findall(r"`tasks/(\w+)\.yaml`:\n\n```yaml\n(.*?)```\n\n```jsonl\n(.*?)```", PAGE, re.DOTALL)
    assert len(blocks) == 3
    for name, task, items in blocks:
        (tmp_path / "tasks" / f"{name}.yaml").write_text(task)
        (tmp_path / "tasks" / f"{name}.jsonl").write_text(items)
    command = re.search(r"^lm_eval (.*?)\n```", PAGE, re.DOTALL | re.MULTILINE)[1].replace("\\\n", " ").split()
    done = subprocess.run(
        [sys.executable, "-m", "lm_eval", *command],
        cwd=tmp_path,
        env=os.environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for name, _, _ in blocks:
        assert re.search(rf"\|{name}\s*\|", done.stdout)
