"""A fit as one JSON document, the same for `fit --json` and for a report's report.json."""

from isoflop.fit.document import fit_as_json
from isoflop.report.convention_table import conventions_document
from isoflop.report.decision_document import decision_as_json
from isoflop.report.law_table import laws_document
from isoflop.report.summary import Summary
from isoflop.sources.source import Source
from isoflop.view.document import SCHEMA_VERSION


def fit_document(summary: Summary) -> dict[str, object]:
    """The fit of `summary` with where its rows come from, as a JSON object.

    `sweep` is null for rows from a table, and from sources of several sweeps; `source` joins the paths of several;
    `findings` are those of the sources, then those of the fit.
    """
    source = summary.source
    return {
        "schema_version": SCHEMA_VERSION,
        "sweep": source.sweep,
        "source": ", ".join(str(part.path) for part in source.each),
        "sources": [_source(part) for part in source.each],
        "simulated": summary.simulated,
        "param_count": source.param_count,
        "flop_count": source.flop_count,
        **fit_as_json(summary.fit),
        "conventions": conventions_document(summary.convention_fits),
        "decisions": [decision_as_json(decision) for decision in summary.decisions],
        "laws": laws_document(summary.laws, summary.targets),
        "findings": [finding.as_json() for finding in summary.findings],
    }


def _source(part: Source) -> dict[str, object]:
    return {
        "label": part.label,
        "path": str(part.path),
        "kind": part.origin,
        "n_rows": len(part.rows),
        "param_count": part.param_count,
    }
