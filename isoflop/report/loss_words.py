"""What the losses of a fit are, in the words of its outputs."""

import re
from dataclasses import replace

from isoflop.finding import Finding
from isoflop.sources.columns.loss_scale import PLAIN, LossScale
from isoflop.sources.source import Pool, Source, common
from isoflop.view.table import Table


def scale_of_losses(source: Source | Pool) -> LossScale:
    """What the losses of all sources are; of tables that do not say, and where sources differ, just losses."""
    return common(part.scale for part in source.each) or PLAIN


def valley_title(scale: LossScale) -> str:
    """What a panel of valleys shows: `Loss at equal compute`."""
    return f"{scale.what[:1].upper()}{scale.what[1:]} at equal compute"


def in_unit(text: str, scale: LossScale) -> str:
    """A sentence about differences of losses, which a fit takes for nats: `0.01 bits per byte`."""
    return re.sub(r"\bnats\b(?: per token)?", scale.short_unit, text) if scale.short_unit else text


def finding_in_unit(finding: Finding, scale: LossScale) -> Finding:
    """The finding with its sentence in the unit of the losses."""
    return replace(finding, message=in_unit(finding.message, scale)) if scale.short_unit else finding


def table_in_unit(table: Table, scale: LossScale) -> Table:
    """The table with its headings in the unit of the losses, and its losses called what they are."""
    if scale == PLAIN or (scale.what == PLAIN.what and not scale.short_unit):
        return table
    columns = tuple(replace(column, heading=_heading(column.heading, scale)) for column in table.columns)
    return replace(table, columns=columns, note=table.note and in_unit(table.note, scale))


def _heading(heading: str, scale: LossScale) -> str:
    if heading == "costs nats":
        return f"costs {scale.unit or scale.what}"
    return scale.what if heading == "loss" else heading
