"""Every finding code: who makes it and how severe it may be. docs/findings.md says when each is given and what to do.

A test holds this list, the code and that page together.
"""

from collections.abc import Mapping
from types import MappingProxyType

_INFO, _WARNING, _ERROR = frozenset({"info"}), frozenset({"warning"}), frozenset({"error"})

# Code -> severities, by the package that makes the finding. Codes are stable names in JSON: none changes its meaning.
FINDING_CODES: Mapping[str, Mapping[str, frozenset[str]]] = MappingProxyType(
    {
        "fit": {
            "too_few_runs": _WARNING,
            "near_budgets": _WARNING,
            "few_sizes": _WARNING,
            "no_profiles": _ERROR,
            "few_budgets": _ERROR | _WARNING,
            "no_frontier": _ERROR,
            "window_idle": _INFO,
            "wide_grid": _INFO,
            "no_log_loss": _WARNING,
            "unbracketed": _WARNING,
            "concave": _WARNING,
            "off_centre": _INFO,
            "drifting_centre": _WARNING | _INFO,
            "skewed_valley": _WARNING | _INFO,
            "flat_valley": _WARNING,
            "noise_fills_valley": _ERROR,
            "unequal_noise": _INFO,
            "shared_trunks": _INFO,
            "estimators_disagree": _WARNING,
            "surface_at_bound": _WARNING,
            "surface_rejected": _INFO,
            "scattered_floors": _WARNING,
            "outliers": _WARNING,
            "not_6nd": _INFO,
            "scorecard_missed": _WARNING,
            "credible_extrapolation": _INFO,
            "no_target": _ERROR,
            "far_extrapolation": _WARNING,
            "loss_not_fitted": _INFO,
            "nothing_to_suggest": _INFO,
            "little_to_gain": _INFO,
            "surface_only": _WARNING,
            "no_interval": _WARNING,
            "identical_rows": _WARNING,
            "tokens_unrelated": _WARNING,
        },
        "sources": {
            "grouped_budgets": _INFO,
            "runs_pending": _WARNING,
            "runs_diverged": _WARNING,
            "runs_failed": _WARNING,
            "flops_mismatch": _ERROR,
            "runs_excluded": _INFO,
            "mixed_execution": _WARNING,
            "mixed_param_counts": _WARNING,
            "mixed_tokenizers": _WARNING,
            "mixed_corpora": _WARNING,
            "mixed_optimizers": _WARNING,
            "mixed_loss_units": _ERROR,
            "shared_runs": _INFO,
            "disputed_runs": _WARNING,
            "unnamed_conventions": _INFO,
            "columns_matched": _INFO,
            "derived_column": _INFO,
            "loss_scale": _INFO,
            "looks_like_perplexity": _WARNING,
            "rows_selected": _INFO,
            "rows_without_result": _WARNING | _INFO,
            "unlike_units": _WARNING,
            "swapped_columns": _ERROR,
            "looks_like_score": _ERROR | _WARNING,
            "mixed_groups": _ERROR | _WARNING,
            "few_steps": _WARNING,
            "many_epochs": _WARNING,
            "recipe_tilts": _WARNING,
            "table_read_as": _INFO,
        },
        "plan": {
            "sweep_file_changed": _WARNING,
            "few_sizes_planned": _WARNING,
            "no_room_below": _WARNING,
            "no_room_above": _WARNING,
            "unusual_rate": _WARNING,
            "sgd_excess_loss": _INFO,
            "muon_time_unknown": _INFO,
            "short_heldout": _WARNING,
        },
        "corpus": {
            "corpus_absent": _WARNING,
            "corpus_tokens_differ": _WARNING,
        },
    }
)
