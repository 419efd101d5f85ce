"""The scripts of the page: plotly.js out of its Python package, our own, the plots as data, and the policy."""

import hashlib
import json
from base64 import b64encode
from collections.abc import Mapping, Sequence
from importlib import resources

from isoflop.report.page.plotly_plot import Plot

# Says in time for the first paint that the plots will take the place of the drawn figure.
MARK_LIVE = 'document.documentElement.classList.add("live");'


def plotly_script() -> str:
    """plotly.js, minified, as the installed plotly package has it."""
    source = resources.files("plotly").joinpath("package_data", "plotly.min.js").read_text(encoding="utf-8")
    # Inside a script element these would end it, or hide its end; in JavaScript the backslash changes nothing.
    return source.replace("</script", "<\\/script").replace("<!--", "<\\!--")


def page_script() -> str:
    """What draws the plots."""
    return _own("page.js")


def page_style() -> str:
    """The style sheet."""
    return _own("page.css")


def _own(name: str) -> str:
    return resources.files("isoflop.report.page").joinpath(name).read_text(encoding="utf-8")


def plot_data(plots: Mapping[str, Plot]) -> str:
    """The plots as JSON in which nothing can end a script element, whatever names they hold."""
    text = json.dumps(plots, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def content_policy(scripts: Sequence[str]) -> str:
    """The Content-Security-Policy under which exactly `scripts` run and nothing is loaded.

    Even if something were to slip through the escaping, a browser would neither run it nor ask the network.
    """
    hashes = " ".join(f"'sha256-{b64encode(hashlib.sha256(script.encode()).digest()).decode()}'" for script in scripts)
    return (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
