import os
import platform
from collections.abc import Sequence
from pathlib import Path

import pytest

from isoflop.corpus.findings import absence_finding, facts_by_token_count
from isoflop.corpus.sources import LARGEST_DOCUMENT, SourceFile, find_source, is_absent, text_documents
from isoflop.errors import IsoflopError
from isoflop.spec import CorpusSpec, TokenizerSpec


def names(base: Path, *paths: str, pattern: str | Sequence[str] = "**/*.txt") -> list[str]:
    spec = CorpusSpec(source="files", paths=paths, pattern=pattern)
    return [file.name for file in find_source(spec, base=base).files]


def put(path: Path, text: bytes = b"text") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text)
    return path


def test_files_and_folders_are_listed_by_name_wherever_they_are(tmp_path: Path) -> None:
    for name in ("z.md", "texts/b.txt", "texts/a/c.txt", "texts/a/ignored.md"):
        put(tmp_path / name)
    assert names(tmp_path, "z.md", "texts") == ["texts/a/c.txt", "texts/b.txt", "z.md"]


def test_the_pattern_chooses_the_documents_of_a_folder(tmp_path: Path) -> None:
    put(tmp_path / "texts/a.txt")
    put(tmp_path / "texts/b.md")
    assert names(tmp_path, "texts", pattern="*.md") == ["texts/b.md"]


@pytest.mark.parametrize("pattern", ["**/*.{txt,md}", ["**/*.txt", "**/*.md"], ["**/*.{txt,md}", "*.md", "*.none"]])
def test_a_list_and_braces_choose_what_any_of_their_patterns_matches_once(
    tmp_path: Path, pattern: str | Sequence[str]
) -> None:
    for name in ("a.txt", "b.md", "c.rst", "d.{txt,md}", "deep/e.md"):
        put(tmp_path / "texts" / name)
    assert names(tmp_path, "texts", pattern=pattern) == ["texts/a.txt", "texts/b.md", "texts/deep/e.md"]


def test_a_file_reached_by_two_paths_is_read_once(tmp_path: Path) -> None:
    put(tmp_path / "texts/a.txt")
    (tmp_path / "texts/link.txt").symlink_to("a.txt")
    assert len(names(tmp_path, "texts", "texts/a.txt")) == 1


def test_folders_and_links_in_circles_do_not_break_the_search(tmp_path: Path) -> None:
    put(tmp_path / "texts/a.txt")
    (tmp_path / "texts/folder.txt").mkdir()
    (tmp_path / "texts/up").symlink_to("..")
    (tmp_path / "texts/self.txt").symlink_to("self.txt")
    (tmp_path / "texts/dangling.txt").symlink_to("nowhere.txt")
    assert names(tmp_path, "texts") == ["texts/a.txt"]


@pytest.mark.parametrize(
    ("paths", "pattern", "message"),
    [
        pytest.param(["gone"], "**/*.txt", "'gone'", id="missing path"),
        pytest.param(["loop"], "**/*.txt", "'loop'", id="link to itself"),
        pytest.param(["pipe"], "**/*.txt", "neither a file nor a folder", id="pipe"),
        pytest.param(["texts"], "**/*.rst", r"no file that matches '\*\*/\*.rst'", id="no match"),
        pytest.param(["texts"], "*.{rst,md}", r"no file that matches '\*.rst' or '\*.md'", id="no match of several"),
        pytest.param(["texts"], ["*.txt", "/etc/*"], r"pattern = '/etc/\*' is an absolute", id="one of them absolute"),
        pytest.param(["texts"], "{a,/b}", "'{a,/b}' stands for '/b', among others, which is an abs", id="in braces"),
        pytest.param(["texts"], ["{,,,}"], "'{,,,}' stands for '', among others, which is empty", id="empty in braces"),
        pytest.param(["texts"], ".", "pattern = '.' is the folder itself", id="the folder"),
        pytest.param(["texts"], "a**b", r"pattern = 'a\*\*b' is a name with \*\* in it", id="two stars in a name"),
        pytest.param(["texts"], "a\0b", r"pattern = 'a\\x00b' is a name with a null byte", id="null byte"),
        pytest.param(["texts"], "{a,b}" * 12, "stands for more than 1000 patterns", id="too many"),
        pytest.param(["texts"], "{a," * 2000, "has more than 1000 characters", id="too long"),
        pytest.param(["texts"], "", "pattern = '' is empty", id="empty pattern"),
        pytest.param(["texts"], "/etc/*", "is an absolute path", id="absolute pattern"),
        pytest.param(["hollow.txt"], "**/*.txt", "empty: no text in 1 file\\.", id="empty file"),
    ],
)
def test_a_corpus_that_cannot_be_read_is_an_error_of_the_user(
    tmp_path: Path, paths: list[str], pattern: str | Sequence[str], message: str
) -> None:
    put(tmp_path / "texts/a.txt")
    put(tmp_path / "hollow.txt", b"")
    (tmp_path / "loop").symlink_to("loop")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(IsoflopError, match=message) as caught:
        names(tmp_path, *paths, pattern=pattern)
    assert caught.value.hint


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
@pytest.mark.parametrize("name", ["texts", "texts/a.txt"])
def test_text_without_read_permission_is_an_error_of_the_user(tmp_path: Path, name: str) -> None:
    put(tmp_path / "texts/a.txt")
    (tmp_path / name).chmod(0)
    spec = CorpusSpec(source="files", paths=("texts",))
    with pytest.raises(IsoflopError, match="Permission denied"):
        next(find_source(spec, base=tmp_path).documents())


def test_a_file_that_vanished_is_an_error_of_the_user(tmp_path: Path) -> None:
    with pytest.raises(IsoflopError, match=r"Cannot read .*gone\.txt"):
        next(text_documents(SourceFile("gone.txt", str(tmp_path / "gone.txt"), 10, 0)))


def source_file(path: Path) -> SourceFile:
    return SourceFile(path.name, str(path), path.stat().st_size, 0)


def test_empty_files_are_no_documents(tmp_path: Path) -> None:
    files = [source_file(put(tmp_path / "a", b"")), source_file(put(tmp_path / "b", b"x"))]
    assert [document.text for file in files for document in text_documents(file)] == [b"x"]


@pytest.mark.parametrize(
    "line", [pytest.param(b"a line of text\n", id="lines"), pytest.param(b"x", id="one endless line")]
)
def test_a_large_file_is_cut_into_parts_that_add_up_to_it(tmp_path: Path, line: bytes) -> None:
    text = line * (3 * LARGEST_DOCUMENT // len(line))
    parts = [part.text for part in text_documents(source_file(put(tmp_path / "large", text)))]
    assert b"".join(parts) == text
    assert max(map(len, parts)) < 0.04 * len(text)
    if line.endswith(b"\n"):
        assert all(part.endswith(b"\n") for part in parts)


def test_the_standard_library_is_that_of_the_running_interpreter_without_installed_packages() -> None:
    source = find_source(CorpusSpec(), base=Path())
    found = [file.name for file in source.files]
    assert found == sorted(found)
    assert {"json/__init__.py", "dataclasses.py", "venv/__init__.py"} <= set(found)
    assert all(name.endswith(".py") for name in found)
    parts = {part for name in found for part in name.split("/")}
    assert not parts & {"site-packages", "dist-packages", "__pycache__", "numpy", "pytest"}
    assert source.interpreter == f"{platform.python_implementation()} {platform.python_version()}"


def test_virtual_environments_inside_a_library_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a.py", "env/pyvenv.cfg", "env/lib/b.py", "site-packages/c.py", "d/__pycache__/d.py", "notes.txt"):
        put(tmp_path / name)
    (tmp_path / "dangling.py").symlink_to("nowhere.py")
    monkeypatch.setattr("sysconfig.get_paths", lambda: {"stdlib": str(tmp_path)})
    assert [file.name for file in find_source(CorpusSpec(), base=tmp_path).files] == ["a.py"]


@pytest.mark.parametrize(
    ("keys", "absent"),
    [
        ({"source": "jsonl", "paths": ["gone"]}, True),
        ({"source": "parquet", "paths": ["here", "gone"]}, False),
        ({"source": "tokens", "paths": ["gone"], "vocab_size": 9}, True),
        ({"source": "hf", "dataset": "gone", "max_bytes": 1}, False),
        ({"mix": [{"source": "arrow", "paths": ["gone"], "weight": 1}, {"weight": 1}]}, True),
        ({"mix": [{"source": "arrow", "paths": [name], "weight": 1} for name in ("gone", "here")]}, False),
    ],
)
def test_a_source_of_any_format_is_absent_where_none_of_its_paths_is_here(
    tmp_path: Path, keys: dict[str, object], absent: bool
) -> None:
    (tmp_path / "here").mkdir()
    assert is_absent(CorpusSpec.model_validate(keys), base=tmp_path) == absent


def test_a_plan_without_ready_tokens_knows_their_vocabulary_and_says_where_they_belong() -> None:
    keys = {"source": "tokens", "paths": ["gone"], "vocab_size": 1000, "bytes_per_token": 4.5}
    facts = facts_by_token_count(CorpusSpec.model_validate({**keys, "tokens": 10**6}), TokenizerSpec(), base=Path())
    assert (facts.tokenizer, facts.vocab_size, facts.bytes_per_token) == ("tokens-1000-4.5", 1000, 4.5)
    parts = [{**keys, "paths": [name], "weight": 1} for name in ("a", "b")]
    mixed = CorpusSpec.model_validate({"mix": parts, "tokens": 10**6})
    facts = facts_by_token_count(mixed, TokenizerSpec(), base=Path())
    assert absence_finding(mixed, facts).values["paths"] == ["a", "b"]
