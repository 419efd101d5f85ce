"""docs/fitting.md against the code that it explains."""

import ast
import importlib
import re
from pathlib import Path

import pytest

from isoflop.fit import MODEL_ERROR_DECADES, MODEL_ERROR_PER_DECADE, fit_as_json, fit_sweep
from isoflop.fit.rows import WIDE_REACH
from tests.fit.known_sweeps import published

ROOT = Path(__file__).parents[1]
DOCUMENT = (ROOT / "docs" / "fitting.md").read_text(encoding="utf-8")
FINDINGS = (ROOT / "docs" / "findings.md").read_text(encoding="utf-8")


def section(title: str) -> str:
    return DOCUMENT.split(f"\n## {title}\n", 1)[1].split("\n## ", 1)[0]


def table(text: str) -> list[list[str]]:
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_every_constant_quoted_is_the_codes() -> None:
    rows = table(section("Constants"))
    assert len(rows) > 20
    for name, value, _ in rows:
        module, constant = name.strip("`").rsplit(".", 1)
        assert getattr(importlib.import_module(f"isoflop.fit.{module}"), constant) == float(value), name


def test_constants_named_beside_a_finding_have_the_value_stated_there() -> None:
    named = {name.strip("`").rsplit(".", 1)[1]: float(value) for name, value, _ in table(section("Constants"))}
    quoted = [(row[2], name) for row in table(FINDINGS) for name in re.findall(r"`([A-Z_]{4,})`", row[2])]
    assert len(quoted) > 8
    for text, name in quoted:
        numbers = {float(number) / (100 if percent else 1) for number, percent in re.findall(r"([\d.]*\d)( %)?", text)}
        assert named[name] in numbers, (name, text)


def test_the_model_error_and_the_window_are_those_of_the_code() -> None:
    assert f"sqrt({MODEL_ERROR_DECADES:g}^2 + ({MODEL_ERROR_PER_DECADE:g} x decades)^2)" in DOCUMENT
    assert f"reach more than {WIDE_REACH:g} decades" in " ".join(DOCUMENT.split())
    hints = (ROOT / "isoflop" / "fit" / "findings" / "coverage.py").read_text(encoding="utf-8")
    assert "window of 0.6 decades" in DOCUMENT and "--window 0.6" in hints


def test_the_weight_of_the_valley_follows_from_the_lack_of_fit_as_stated() -> None:
    assert "w = max(0, 1 - 1/F)" in DOCUMENT
    found = fit_sweep(*published("llama3")).estimators
    assert found.joint and found.surface and found.surface.lack_of_fit_f
    assert found.joint.valley_weight == pytest.approx(1 - 1 / found.surface.lack_of_fit_f)


def test_every_image_exists_and_every_figure_is_shown() -> None:
    linked = re.findall(r"!\[[^\]]+\]\((img/[^)]+)\)", DOCUMENT)
    assert {path for path in linked if not (ROOT / "docs" / path).is_file()} == set()
    drawn = {f"img/{path.name}" for path in (ROOT / "docs" / "img").glob("fitting-*")}
    assert set(linked) == drawn
    assert all((ROOT / "docs" / path).stat().st_size < 150_000 for path in linked)


def test_every_figure_has_a_drawing() -> None:
    modules = (ROOT / "docs" / "figures").glob("*.py")
    drawings = {
        node.name.replace("_", "-")
        for module in modules
        for node in ast.parse(module.read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef) and node.returns and ast.unparse(node.returns) == "Figure"
    }
    assert {f"img/fitting-{name}.svg" for name in drawings} == set(re.findall(r"img/fitting-[a-z-]+\.svg", DOCUMENT))


def test_anchors_lead_to_headings() -> None:
    headings = re.findall(r"^#+ (.+)$", DOCUMENT, flags=re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}
    assert set(re.findall(r"\]\(#([^)]+)\)", DOCUMENT)) <= anchors


def test_the_fields_that_the_document_lists_are_those_of_the_document() -> None:
    fit = fit_as_json(fit_sweep(*published("llama3"), targets=[1e23]))
    reading = section("Reading the result")
    estimators = fit["estimators"]
    parts = [fit, estimators, fit["profiles"][0], fit["frontier"], fit["targets"][0], fit["scorecard"][0]]
    parts += [*filter(None, estimators.values()), estimators["recommended"]["loss_law"], fit["targets"][0]["bands"][0]]
    parts += [fit["findings"][0]]
    fields = {name for part in parts for name in part}
    words = set(re.findall(r"\w+", " ".join(re.findall(r"`([^`]+)`", reading))))
    assert fields - words - {"n_opt_ci", "d_opt_ci", "exponent_a_ci", "exponent_b_ci"} == set()


def test_the_snippet_runs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    (snippet,) = re.findall(r"```python\n(.*?)```", DOCUMENT, flags=re.DOTALL)
    monkeypatch.chdir(ROOT)
    exec(compile(snippet, "docs/fitting.md", "exec"), {})
    first, second, third = capsys.readouterr().out.splitlines()
    assert first.startswith("joint 0.47")
    assert second.endswith(("True", "False"))
    assert "surface_rejected" in third
