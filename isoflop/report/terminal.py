"""A summary on a terminal or in a pipe: the answer first, then what it rests on."""

from rich.console import Console

from isoflop.report.loss_words import in_unit, scale_of_losses
from isoflop.report.summary import Summary
from isoflop.view.drawing import findings_block, table_block, text
from isoflop.wording import SIMULATED_SENTENCE


def print_summary(summary: Summary, console: Console) -> None:
    """Nothing; `console` shows the summary."""
    console.print(text(summary.title, "bold"))
    if summary.simulated:
        console.print(text(SIMULATED_SENTENCE, "bold magenta"))
    console.print(text(summary.scope, "dim"))
    for sentence in summary.answer.sentences:
        console.print(text(""), text(sentence), sep="\n")
    for table in summary.fit_tables:
        console.print(table_block(table, console))
    for decision in summary.decisions:
        for note in decision.notes:
            console.print(text(in_unit(note, scale_of_losses(summary.source)), "dim"))
    if summary.findings:
        console.print(findings_block(summary.findings))
