import pytest

from isoflop.corpus.patterns import expand


@pytest.mark.parametrize(
    ("pattern", "expanded"),
    [
        ("**/*.txt", ["**/*.txt"]),
        ("**/*.{txt,md}", ["**/*.txt", "**/*.md"]),
        ("{a,b}/{c,d}", ["a/c", "a/d", "b/c", "b/d"]),
        ("a{b,c{d,e}}f", ["abf", "acdf", "acef"]),
        ("x.txt{,.old}", ["x.txt", "x.txt.old"]),
        ("notes{1}.txt", ["notes{1}.txt"]),
        ("{a{b,c}}", ["{ab}", "{ac}"]),
        ("a{b,c", ["a{b,c"]),
        ("}a,b{", ["}a,b{"]),
        ("{a,a}", ["a"]),
        (["*.md", "*.{txt,md}"], ["*.md", "*.txt"]),
    ],
)
def test_braces_stand_for_their_alternatives_as_in_a_shell(pattern: str | list[str], expanded: list[str]) -> None:
    assert list(expand(pattern)) == expanded
