"""`isoflop.fit` as a typed program uses it: every exported name is annotated, and a type checker sees it."""

import inspect
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import pytest

from isoflop import fit

PROGRAM = """
from typing import assert_type
import isoflop.fit as api

fit = api.fit_sweep([1e18] * 3, [1e7, 2e7, 4e7], [2e9, 1e9, 5e8], [3.1, 3.0, 3.1], targets=[1e20])
assert_type(fit, api.SweepFit)
assert_type(fit.profiles, tuple[api.Profile, ...])
assert_type([profile.vertex for profile in fit.profiles], list[api.Vertex])
assert_type(fit.frontier, api.Frontier | None)
assert_type([target.n_opt for target in fit.targets], list[float | None])
assert_type([target.n_opt_ci for target in fit.targets], list[tuple[float, float] | None])
assert_type(api.fit_as_json(fit), dict[str, object])
"""
MISTAKE = "api.fit_sweep([1e18], [1e7], [2e9], [3.1], target=[1e20])\n"


@pytest.mark.parametrize("name", [name for name in fit.__all__ if inspect.isfunction(getattr(fit, name))])
def test_every_argument_and_result_of_a_function_is_annotated(name: str) -> None:
    signature = inspect.signature(getattr(fit, name))
    annotations = [signature.return_annotation, *(p.annotation for p in signature.parameters.values())]
    assert inspect.Signature.empty not in annotations


def test_the_package_says_that_it_is_typed() -> None:
    assert files("isoflop").joinpath("py.typed").is_file()


@pytest.mark.slow
def test_a_type_checker_knows_what_a_program_gets_and_finds_its_mistake(tmp_path: Path) -> None:
    """With the checker's defaults, and with what is imported unseen, as for an installed package."""
    options = ("--strict", "--config-file=", "--follow-imports=silent", "--ignore-missing-imports")
    command = [sys.executable, "-m", "mypy", *options, f"--cache-dir={tmp_path}", "-c", PROGRAM + MISTAKE]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False)
    errors = [line for line in done.stdout.splitlines() if ": error: " in line]
    assert 'Unexpected keyword argument "target"' in errors[0]
    mistaken = f"<string>:{len(PROGRAM.splitlines()) + 1}:"
    assert all(error.startswith(mistaken) for error in errors), done.stdout + done.stderr
