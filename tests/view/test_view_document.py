"""The JSON text of documents."""

import json

import pytest

from isoflop.view import document
from isoflop.view.document import dumps


def test_a_document_is_indented_unless_it_has_a_very_long_list(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(document, "MOST_INDENTED", 3)
    short, long = {"schema_version": 1, "runs": [1, 2, 3]}, {"schema_version": 1, "runs": [1, 2, 3, 4]}
    assert dumps(short).startswith('{\n  "schema_version": 1,') and "\n" not in dumps(long)
    assert json.loads(dumps(short)) == short and json.loads(dumps(long)) == long
    with pytest.raises(ValueError, match="not JSON compliant"):
        dumps({"loss": float("nan")})
