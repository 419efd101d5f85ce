"""events.jsonl: progress, a JSON object per line, only ever appended to and read while it grows."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

# Of a file that grows with the run, its end: some 300 events of half a second each.
TAIL_BYTES = 64 * 1024


def append_event(path: Path, event: dict[str, Any]) -> None:
    """Add one line of progress; half a line left by a killed worker is closed first."""
    with path.open("ab+") as file:
        if file.tell() and not _ends_whole(file):
            file.write(b"\n")
        file.write(json.dumps(event, allow_nan=False).encode() + b"\n")


def read_events(path: Path, offset: int) -> tuple[list[dict[str, Any]], int]:
    """Whole events written since byte `offset`, and the offset to go on from."""
    if not path.is_file():  # nor is a folder or a pipe in its place read
        return [], offset
    with path.open("rb") as file:
        file.seek(offset)
        data = file.read()
    whole = data[: data.rfind(b"\n") + 1]
    return [event for line in whole.splitlines() if (event := _parse_event(line))], offset + len(whole)


def last_events(path: Path) -> Iterator[dict[str, Any]]:
    """The events near the end of the file, newest first; half lines at both ends of what is read are passed over."""
    if not path.is_file():
        return
    try:
        with path.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - TAIL_BYTES))
            lines = file.read().splitlines()
    except FileNotFoundError:
        return
    for line in reversed(lines):
        if (event := _parse_event(line)) is not None:
            yield event


def _parse_event(line: bytes) -> dict[str, Any] | None:
    """The event of a line; None for half a line of a killed worker."""
    try:
        event = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return event if isinstance(event, dict) else None


def _ends_whole(file: BinaryIO) -> bool:
    file.seek(-1, os.SEEK_END)
    return file.read(1) == b"\n"
