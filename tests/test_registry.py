"""Every finding code has one maker, its severities and one documented meaning."""

import ast
import re
from collections import defaultdict
from pathlib import Path

import pytest

import isoflop
from isoflop.finding import Finding, Severity
from isoflop.registry import FINDING_CODES

PACKAGE = Path(isoflop.__file__).parent
DOCUMENT = (PACKAGE.parent / "docs" / "findings.md").read_text(encoding="utf-8")
# Functions that make a finding of a code and a severity, beside `Finding` itself.
MAKERS = {"Finding", "per_budget"}


def severities(*nodes: ast.expr) -> frozenset[str]:
    found = [node for one in nodes for node in ast.walk(one) if isinstance(node, ast.Attribute)]
    return frozenset(node.attr.lower() for node in found if ast.unparse(node.value) == "Severity")


def made() -> dict[str, dict[Path, frozenset[str]]]:
    """Severities of each code by the module that makes it: by a call, or in a table of tuples."""
    codes: dict[str, dict[Path, frozenset[str]]] = defaultdict(dict)
    for module in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
            parts: list[ast.expr] = []
            if isinstance(node, ast.Call) and ast.unparse(node.func) in MAKERS:
                parts = [*node.args, *(keyword.value for keyword in node.keywords)]
            elif isinstance(node, ast.Tuple):
                parts = node.elts
            if parts and isinstance(parts[0], ast.Constant) and severities(*parts[:2]):
                code = parts[0].value
                codes[code][module] = codes[code].get(module, frozenset()) | severities(*parts[:2])
    return codes


def documented() -> dict[str, tuple[str, frozenset[str]]]:
    """Section and severities of each code in the page."""
    rows: dict[str, tuple[str, frozenset[str]]] = {}
    for section in DOCUMENT.split("\n## ")[1:]:
        for code, kinds, when, remedy in re.findall(
            r"^\| `(\w+)` \| (.+?) \| (.+?) \| (.+?) \|$", section, re.MULTILINE
        ):
            assert code not in rows, f"{code} is documented twice"
            assert len(when) > 10
            assert remedy
            rows[code] = section.splitlines()[0], frozenset(kinds.split(", "))
    return rows


def test_every_code_of_the_registry_is_made_by_one_module_of_its_package_in_the_severities_it_lists() -> None:
    registered = {code: (package, kinds) for package, codes in FINDING_CODES.items() for code, kinds in codes.items()}
    assert len(registered) == sum(len(codes) for codes in FINDING_CODES.values()), "a code stands in two packages"
    makers = made()
    assert makers.keys() == registered.keys()
    for code, (package, kinds) in registered.items():
        assert len(makers[code]) == 1, f"{code} is made by {[str(module) for module in makers[code]]}"
        [(module, severities_made)] = makers[code].items()
        assert module.relative_to(PACKAGE).parts[0] == package, code
        assert severities_made == kinds, code


def test_every_code_of_the_registry_is_documented_once_with_its_severities() -> None:
    titles = {"From a fit": "fit", "From the rows": "sources", "From a plan": "plan", "From a corpus": "corpus",
              "From a confirm run": "decision"}  # fmt: skip
    pages = documented()
    assert {code: (titles[title], kinds) for code, (title, kinds) in pages.items()} == {
        code: (package, kinds) for package, codes in FINDING_CODES.items() for code, kinds in codes.items()
    }


@pytest.mark.parametrize(("code", "severity"), [("few_size", Severity.WARNING), ("few_sizes", Severity.ERROR)])
def test_a_finding_of_an_unknown_code_or_severity_cannot_be_made(code: str, severity: Severity) -> None:
    with pytest.raises(ValueError, match=code):
        Finding(code, severity, "Something.", "Do something.")
