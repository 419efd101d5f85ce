"""A TOML file as a mapping, within bounds that keep the parser quick; what is wrong with one, as a sentence."""

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from isoflop.errors import IsoflopError, why_inaccessible, why_unparsed
from isoflop.spec.problems import EXAMPLE

# Room for thousands of paths. The parser's time grows with the square of the parts of a key; no key of ours has three.
LARGEST_FILE, MOST_PARTS = 1 << 20, 64
_KEY = r"""(?:[A-Za-z0-9_-]++|"(?:[^"\\\n]|\\.)*+"|'[^'\n]*+')"""
_DEEP_KEY = re.compile(rf"(?:^|[\[{{,])[ \t]*+{_KEY}(?:[ \t]*+\.[ \t]*+{_KEY}){{{MOST_PARTS}}}", re.MULTILINE)

_LAYOUT = f"{EXAMPLE} shows the layout."


def read_toml(path: Path) -> Mapping[str, Any]:
    """What the sweep file at `path` says, unchecked.

    Raises:
        IsoflopError: missing, unreadable, too large or no TOML.
    """
    text = _text(path)
    deep = _DEEP_KEY.search(text)
    if deep is not None:
        line = text.count("\n", 0, deep.end()) + 1
        raise _not_toml(path, f"a key of more than {MOST_PARTS} parts (at line {line})")
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # TOMLDecodeError, or a number or nesting beyond what Python reads
        raise _not_toml(path, why_unparsed(error, text)) from None


def _not_toml(path: Path, why: str) -> IsoflopError:
    return IsoflopError(f"{str(path)!r} is not valid TOML: {why}.", hint=_LAYOUT)


def _text(path: Path) -> str:
    shown = str(path)
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST_FILE + 1)
    except FileNotFoundError:
        raise IsoflopError(f"There is no sweep file {shown!r}.", hint="Check the path; sweeps/ has examples.") from None
    except IsADirectoryError:
        raise IsoflopError(
            f"Cannot read sweep file {shown!r}: it is a folder.", hint=f"Give a file in it; {_LAYOUT}"
        ) from None
    except (OSError, ValueError) as error:  # ValueError: a name with a null byte
        raise IsoflopError(
            f"Cannot read sweep file {shown!r}: {why_inaccessible(error, path)}.", hint="Give a readable TOML file."
        ) from None
    if len(data) > LARGEST_FILE:
        raise IsoflopError(
            f"{shown!r} has more than {LARGEST_FILE} bytes, too many for a sweep file.",
            hint=f"Give a sweep file; {_LAYOUT}",
        )
    try:
        return data.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise IsoflopError(
            f"Cannot read sweep file {shown!r}: line {line} is not UTF-8 text.", hint="Save the file as UTF-8."
        ) from None
