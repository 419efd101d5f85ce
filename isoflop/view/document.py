"""What every JSON document of a command has in common."""

import json

SCHEMA_VERSION = 1


def dumps(document: dict[str, object]) -> str:
    """`document` as JSON text.

    Raises:
        ValueError: a number is not finite.
    """
    return json.dumps(document, indent=2, allow_nan=False)
