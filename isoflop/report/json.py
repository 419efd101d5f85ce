"""A fit as one JSON document, the same for `fit --json` and for a report's report.json."""

from isoflop.fit.document import fit_as_json
from isoflop.report.source import Origin
from isoflop.report.summary import Summary
from isoflop.view.document import SCHEMA_VERSION


def fit_document(summary: Summary) -> dict[str, object]:
    """The fit of `summary` with where its rows come from, as a JSON object.

    `sweep` is null for rows from a CSV file; `findings` are those of the source, then those of the fit.
    """
    source = summary.source
    return {
        "schema_version": SCHEMA_VERSION,
        "sweep": source.label if source.origin is Origin.SWEEP else None,
        "source": str(source.path),
        "simulated": summary.simulated,
        "param_count": source.param_count,
        **fit_as_json(summary.fit),
        "findings": [finding.as_json() for finding in summary.findings],
    }
