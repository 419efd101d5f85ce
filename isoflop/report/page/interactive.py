"""The figure of a report for a browser: the same panels as the drawn one, with details under the pointer."""

from isoflop.report.frontier_curves import optimal_params, optimal_tokens
from isoflop.report.page.plotly_frontier import frontier_plot
from isoflop.report.page.plotly_plot import Plot
from isoflop.report.page.plotly_valleys import valley_plot
from isoflop.report.summary import Summary


def plots(summary: Summary) -> dict[str, Plot]:
    """The panels by the id of their place on the page; without any floor only the valleys."""
    fit, targets, laws = summary.fit, summary.targets, summary.laws
    optima = {"params": optimal_params(fit, targets, laws), "tokens": optimal_tokens(fit, targets, laws)}
    shown = {name: optimum for name, optimum in optima.items() if optimum.floors or optimum.law}
    frontier = {name: frontier_plot(optimum, summary) for name, optimum in shown.items()}
    return {"valleys": valley_plot(summary), **frontier}
