"""docs/reference.md against what commands print, what the database holds and what a run directory has in it."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from isoflop.cli import boundary
from isoflop.rundir import Claim, JobFile
from tests.commands import isoflop
from tests.databases import opened

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")
SWEEP = """
name = "s"
budgets = [1e17, 4e17, 1.6e18]
trainer = "simulated"
[grid]
sizes = 7
center_seeds = 1
"""
EXTENDS = {"surface estimate": "estimate", "joint estimate": "estimate", "recommended estimate": "estimate"}
TYPES: Mapping[str, type | tuple[type, ...]] = {"number": (int, float), "text": str, "flag": bool, "list": list}


def section(title: str) -> str:
    found = re.search(rf"^#+ {re.escape(title)}\n(.*?)(?=^#+ |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert found is not None, f"the page has no section {title!r}"
    return found[1]


def rows(title: str) -> dict[str, str]:
    """Second cell by first cell of a section's table."""
    return dict(re.findall(r"^\| `(.+?)` \| (.+?) \|", section(title), re.MULTILINE))


def fields(title: str) -> dict[str, str]:
    return {**(fields(EXTENDS[title]) if title in EXTENDS else {}), **rows(title)}


def unlike(value: object, kind: str, place: str) -> Iterator[str]:
    """Where `value` is not what the page says of it."""
    if kind == "interval":
        if value is not None and not (isinstance(value, list) and len(value) == 2):
            yield f"{place}: {value} is no interval"
    elif kind == "any":
        return
    elif kind.endswith(" or null"):
        if value is not None:
            yield from unlike(value, kind.removesuffix(" or null"), place)
    elif kind in TYPES:
        if not isinstance(value, TYPES[kind]) or (kind == "number" and isinstance(value, bool)):
            yield f"{place}: {value!r} is no {kind}"
    elif kind.startswith("list of "):
        assert isinstance(value, list), place
        for part in value:
            yield from unlike(part, kind.removeprefix("list of "), f"{place}[]")
    else:
        assert isinstance(value, dict), f"{place}: {value!r}"
        known = fields(kind)
        yield from (f"{place}.{name} is not on the page" for name in value.keys() - known.keys())
        yield from (f"{place}.{name} is on the page alone" for name in known.keys() - value.keys())
        for name in value.keys() & known.keys():
            yield from unlike(value[name], known[name], f"{place}.{name}")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a simulated sweep that has run, and a table."""
    made = tmp_path_factory.mktemp("reference")
    (made / "s.toml").write_text(SWEEP)
    corpus = '[corpus]\nsource = "files"\npaths = ["text.txt"]\n'
    smoke = (ROOT / "sweeps" / "smoke.toml").read_text(encoding="utf-8")
    (made / "f.toml").write_text(smoke.replace("[grid]", f"{corpus}[grid]"))
    (made / "text.txt").write_text("".join(f"line {number} of a text\n" for number in range(50_000)))
    (made / "t.csv").write_bytes((ROOT / "tests" / "data" / "llama3.csv").read_bytes())
    isoflop("run", "s.toml", folder=made)
    isoflop("run", "s.toml", "--confirm", "5e18", "--neighbours", folder=made)
    return made


ASKED = "--target 1e19 --suggest 3 --law all --peak 1e14 --corpus-tokens 1e9 --inference-tokens 1e12"


@pytest.mark.parametrize(
    ("title", "line"),
    [
        ("plan", "plan s.toml --extend 3"),
        ("plan", "plan f.toml --dry-run"),
        ("run", "run s.toml"),
        ("status", "status s.toml"),
        ("fit", f"fit s.toml {ASKED}"),
        ("fit", f"fit t.csv {ASKED}"),
        ("compare", "fit s.toml t.csv --compare --target 1e19"),
        ("report", "report s.toml --out report --bootstrap 3"),
        ("exclude", "exclude RUN --reason spike"),
        ("exclude", "include RUN"),
        ("clean", "clean"),
    ],
)
def test_every_field_that_a_command_prints_is_on_the_page_with_its_type(folder: Path, title: str, line: str) -> None:
    run_id = json.loads(isoflop("plan", "s.toml", "--dry-run", "--json", folder=folder).stdout)["runs"][0]["run_id"]
    document = json.loads(isoflop(*line.replace("RUN", run_id).split(), "--json", folder=folder).stdout)
    assert list(unlike(document, title, title)) == []
    if title == "report":
        written = json.loads((folder / "report" / "report.json").read_text())
        assert list(unlike(written, "fit", "report.json")) == []
        assert written["bootstrap"] is not None


def test_a_field_that_is_not_on_the_page_and_one_of_another_type_are_noticed() -> None:
    band = {"margin": "noise", "nats": "0.01", "n_params": None, "more": 1}
    assert set(unlike(band, "band", "x")) == {"x.more is not on the page", "x.nats: '0.01' is no number"}


def test_every_table_and_column_of_the_database_is_on_the_page(folder: Path) -> None:
    with opened(folder / "isoflop.db") as db:
        tables = [name for (name,) in db.execute("select name from sqlite_master where type = 'table'")]
        ours = [name for name in tables if not name.startswith(("sqlite_", "_"))]
        assert {f"table {name}" for name in ours} == set(re.findall(r"^### (table \w+)$", PAGE, re.MULTILINE))
        for name in ours:
            assert list(rows(f"table {name}")) == [column[1] for column in db.execute(f"pragma table_info({name})")]


def test_every_file_of_a_run_directory_is_on_the_page(folder: Path) -> None:
    [one, *_] = sorted(path for path in (folder / "isoflop-artifacts").iterdir() if (path / "job.json").exists())
    known = [re.sub(r"<\w+>", "[^/]+", re.escape(name).replace("\\-", "-")) for name in rows("The run directory")]
    for path in one.rglob("*"):
        if path.is_file():
            name = path.relative_to(one).as_posix()
            assert any(re.match(pattern, name) for pattern in known), name
    assert list(rows("job.json")) == list(JobFile.model_fields)
    assert list(rows("claim.json")) == list(Claim.model_fields)


def test_every_event_of_a_run_directory_is_on_the_page(folder: Path) -> None:
    known = {event: set(re.findall(r"`(\w+)`", names)) for event, names in rows("events.jsonl").items()}
    seen = set()
    for path in (folder / "isoflop-artifacts").glob("*/events.jsonl"):
        for event in map(json.loads, path.read_text().splitlines()):
            assert event.keys() - {"event"} == known[event["event"]]
            seen.add(event["event"])
    assert seen >= {"started", "result"}


def test_every_exit_code_is_on_the_page() -> None:
    codes = {value for name, value in vars(boundary).items() if name.startswith("EXIT_")}
    listed = {int(code) for code in re.findall(r"^\| (\d+) \|", section("Exit codes"), re.MULTILINE)}
    assert listed == codes | {2}
