"""What the programs that garble input share: damage to bytes, and a run of many cases against the clock."""

import argparse
import faulthandler
import random
import signal
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, TypeVar

LIMIT_SECONDS = 20


class TooSlowError(Exception):
    """A case that took more than LIMIT_SECONDS."""


class Case(Protocol):
    """One garbled input."""

    @property
    def how(self) -> str:
        """What was done to it, in words."""

    @property
    def contents(self) -> dict[str, bytes]:
        """Its files by name."""


def flipped_bits(draw: random.Random, content: bytes) -> bytes:
    """The content with 1, 3 or 30 bits the other way."""
    changed = bytearray(content)
    for _ in range(draw.choice((1, 3, 30)) if changed else 0):
        changed[draw.randrange(len(changed))] ^= 1 << draw.randrange(8)
    return bytes(changed)


def lost_piece(draw: random.Random, content: bytes) -> bytes:
    """The content without up to 500 bytes from its middle."""
    start = draw.randrange(len(content) + 1)
    return content[:start] + content[start + draw.choice((1, 2, 20, 500)) :]


def repeated_piece(draw: random.Random, content: bytes) -> bytes:
    """The content with a piece of it many times over."""
    start = draw.randrange(len(content) + 1)
    piece = content[start : start + draw.choice((1, 10, 100))]
    return content[:start] + piece * draw.choice((2, 50)) + content[start:]


def what_was_raised(error: Exception) -> tuple[str, str]:
    """The find that an exception is, and where it was raised."""
    what = "too slow" if isinstance(error, TooSlowError) else f"{type(error).__name__}: {str(error)[:100]}"
    frames = [f"{Path(f.filename).name}:{f.lineno}" for f in traceback.extract_tb(error.__traceback__)]
    return what, " < ".join(reversed(frames[-6:]))


def _ring(*_: object) -> None:
    raise TooSlowError


CaseT = TypeVar("CaseT", bound=Case)


def fuzz(
    description: str,
    *,
    accepted: str,
    drawn: Callable[[int, int, Path], CaseT],
    why_wrong: Callable[[CaseT, Path], tuple[str | None, str]],
) -> int:
    """The exit status of a program with that description: 1 if there is a find.

    Args:
        accepted: what `why_wrong` says of a case that is not refused.
        drawn: the case of a seed and a number; the folder is empty.
        why_wrong: what is wrong with what becomes of a case, None for nothing; and what was said of it.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--cases", type=int, default=10_000, help="how many")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="the first case")
    parser.add_argument("--only", type=int, help="this case alone")
    parser.add_argument("--keep", type=Path, help="where to leave the cases that are finds")
    options = parser.parse_args()
    indices = range(options.first, options.first + options.cases) if options.only is None else [options.only]
    faulthandler.enable()
    signal.signal(signal.SIGALRM, _ring)
    outcomes: Counter[str] = Counter()
    finds: dict[str, list[str]] = {}
    begun, slowest = time.perf_counter(), (0.0, 0)
    with tempfile.TemporaryDirectory() as name:
        for index in indices:
            case = drawn(options.seed, index, Path(name))
            start = time.perf_counter()
            signal.alarm(LIMIT_SECONDS)
            wrong, said = why_wrong(case, Path(name))
            signal.alarm(0)
            slowest = max(slowest, (time.perf_counter() - start, index))
            outcomes["find" if wrong else said if said == accepted else "refused"] += 1
            if wrong:
                finds.setdefault(f"{wrong}\n    {said}", []).append(f"{index} ({case.how})")
                if options.keep:
                    _keep(options.keep / str(index), case)
            elif options.only is not None:
                print(f"{case.how}: {said}")
    for what, where in sorted(finds.items(), key=lambda item: -len(item[1])):
        print(f"{len(where)} times: {what}\n    cases {'; '.join(where[:4])}")
    took = f"{time.perf_counter() - begun:.0f} s, the slowest {slowest[0]:.1f} s (case {slowest[1]})"
    print(f"seed {options.seed}: {dict(outcomes)} of {len(indices)} cases in {took}")
    return 1 if finds else 0


def _keep(folder: Path, case: Case) -> None:
    for name, content in case.contents.items():
        kept = folder / name
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_bytes(content)
