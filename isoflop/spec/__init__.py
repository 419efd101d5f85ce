"""The sweep file: one class per table, the question they make up together, and what is wrong with one."""

from isoflop.spec.command_spec import CommandSpec, LadderEntry
from isoflop.spec.corpus_spec import CorpusSpec, MixSpec, SourceSpec, TokenizerSpec
from isoflop.spec.engine_spec import EngineSpec, RaySpec, SlurmSpec, with_options
from isoflop.spec.grid_spec import GridSpec, ModelSpec
from isoflop.spec.recipe_spec import RecipeSpec
from isoflop.spec.sweep_spec import EvaluationSpec, FitSpec, Keep, RunPolicy, SweepSpec, load_spec, parse_spec

__all__ = [
    "CommandSpec",
    "CorpusSpec",
    "EngineSpec",
    "EvaluationSpec",
    "FitSpec",
    "GridSpec",
    "Keep",
    "LadderEntry",
    "MixSpec",
    "ModelSpec",
    "RaySpec",
    "RecipeSpec",
    "RunPolicy",
    "SlurmSpec",
    "SourceSpec",
    "SweepSpec",
    "TokenizerSpec",
    "load_spec",
    "parse_spec",
    "with_options",
]
