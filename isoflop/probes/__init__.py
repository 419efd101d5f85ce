"""What a model can do: questions with one right answer, made from held-out text. No torch, no tokenizer, no files."""

from isoflop.probes.item import Item, LeftOut, Probe
from isoflop.probes.make import PROBE_VERSION, make_probes

__all__ = ["PROBE_VERSION", "Item", "LeftOut", "Probe", "make_probes"]
