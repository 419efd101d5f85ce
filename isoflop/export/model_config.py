"""config.json and generation_config.json: the decoder of `isoflop.train.model` as Hugging Face's Qwen3 describes it."""

from typing import Literal

from isoflop import __version__
from isoflop.run_spec import RunSpec
from isoflop.shape import NORM_EPSILON, ROPE_THETA

ExportDtype = Literal["float32", "bfloat16"]

# The key under which config.json says which run it is of; transformers keeps keys that it does not know.
OWN_KEY = "isoflop"


def model_config(run: RunSpec, *, separator: int | None, dtype: ExportDtype) -> dict[str, object]:
    """The content of config.json.

    What a wrong or missing value does is mostly silent: a head of its own (`tie_word_embeddings`) and the base of the
    rotary positions, which readers look for in two places, are spelled out (docs/decisions.md).
    """
    shape = run.shape
    return {
        "architectures": ["Qwen3ForCausalLM"],
        "model_type": "qwen3",
        "vocab_size": shape.vocab_size,
        "hidden_size": shape.width,
        "intermediate_size": shape.d_ff,
        "num_hidden_layers": shape.n_layers,
        "num_attention_heads": shape.n_heads,
        "num_key_value_heads": shape.n_heads,
        "head_dim": shape.head_dim,
        "hidden_act": "silu",
        "max_position_embeddings": shape.context_length,
        "rms_norm_eps": NORM_EPSILON,
        "rope_theta": ROPE_THETA,
        "rope_parameters": {"rope_type": "default", "rope_theta": ROPE_THETA},
        "attention_bias": False,
        "attention_dropout": 0.0,
        "tie_word_embeddings": False,
        "use_sliding_window": False,
        "sliding_window": None,
        "max_window_layers": shape.n_layers,
        "layer_types": ["full_attention"] * shape.n_layers,
        "initializer_range": 0.02,
        "use_cache": True,
        "bos_token_id": separator,
        "eos_token_id": separator,
        "pad_token_id": separator,
        "dtype": dtype,
        "torch_dtype": dtype,
        OWN_KEY: {"run_id": run.run_id, "version": __version__},
    }


def generation_config(separator: int | None) -> dict[str, object]:
    """The content of generation_config.json: greedy, from and to the end of a document."""
    return {
        "do_sample": False,
        "bos_token_id": separator,
        "eos_token_id": separator,
        "pad_token_id": separator,
    }
