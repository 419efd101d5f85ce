"""What every JSON document of a command has in common."""

import json

SCHEMA_VERSION = 1
# A document with a longer list is for programs alone: on one line, it is written in a quarter of the time.
MOST_INDENTED = 10_000


def dumps(document: dict[str, object]) -> str:
    """`document` as JSON text, indented unless it is very long.

    Raises:
        ValueError: a number is not finite.
    """
    longest = max((len(value) for value in document.values() if isinstance(value, list | tuple)), default=0)
    return json.dumps(document, indent=2 if longest <= MOST_INDENTED else None, allow_nan=False)
