"""model.gguf: the same weights and tokens for llama.cpp, written with the library `gguf`.

llama.cpp's own converter refuses tokenizers that it does not know by hash; these keys are what its reader needs.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from isoflop.corpus import Tokenizer
from isoflop.corpus.tokenizers.bpe import WORDS
from isoflop.errors import IsoflopError
from isoflop.export.model_config import ExportDtype
from isoflop.export.tensors import Weights, to_bfloat16
from isoflop.export.tokenizer_files import tokenizer_files
from isoflop.run_spec import RunSpec
from isoflop.shape import NORM_EPSILON, ROPE_THETA

if TYPE_CHECKING:
    from gguf import GGUFWriter

# Bytes FF FF, in no UTF-8: llama.cpp refuses a vocabulary without merges.
_NO_MERGE = "ÿ ÿ"

# Our names of a block's weights, in GGUF's.
_IN_BLOCK = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
_OUTSIDE = {"embed_tokens": "token_embd", "norm": "output_norm", "lm_head": "output"}


def require_gguf() -> "type[GGUFWriter]":
    """The library's writer.

    Raises:
        IsoflopError: the library is not installed.
    """
    try:
        from gguf import GGUFWriter
    except ImportError:
        raise IsoflopError("--gguf needs the package gguf.", hint="pip install 'isoflop[gguf]'") from None
    return cast("type[GGUFWriter]", GGUFWriter)


def write_gguf(path: Path, run: RunSpec, weights: Weights, tokenizer: Tokenizer, dtype: ExportDtype) -> None:
    """Write the model to `path`.

    Raises:
        IsoflopError: the library is not installed, or llama.cpp would give other tokens than the tokenizer.
        OSError: it cannot be written.
    """
    library, document = require_gguf(), tokenizer_document(tokenizer)
    writer = library(path, "qwen3")
    _add_shape(writer, run)
    _add_tokens(writer, tokenizer, document)
    for name, weight in weights.items():
        _add_tensor(writer, gguf_name(name), weight, dtype)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def tokenizer_document(tokenizer: Tokenizer) -> dict[str, Any]:
    """The content of its tokenizer.json, of which llama.cpp gives the same tokens by what `_add_tokens` writes.

    Raises:
        IsoflopError: it would give others, without a word.
    """
    document: dict[str, Any] = json.loads(tokenizer_files(tokenizer, 1)["tokenizer.json"])
    if not _is_byte_level_bpe(document):
        raise IsoflopError(
            f"--gguf writes byte-level BPE tokenizers that divide text into words as Qwen2's does; {tokenizer.name} is "
            "another, of which llama.cpp would make other tokens.",
            hint="Leave out --gguf: the folder loads in transformers.",
        )
    return document


def _is_byte_level_bpe(document: dict[str, Any]) -> bool:
    """Whether words are divided as Qwen2 divides them, or there are no merges for which it would matter."""
    model, normalizer = document["model"], document.get("normalizer")
    if model.get("type") != "BPE" or model.get("byte_fallback") or (normalizer and normalizer.get("type") != "NFC"):
        return False
    outer = document.get("pre_tokenizer") or {}
    *splits, byte_level = outer.get("pretokenizers") or [outer]
    if byte_level.get("type") != "ByteLevel" or byte_level.get("add_prefix_space") or byte_level.get("use_regex", True):
        return False
    of_qwen2 = {"type": "Split", "pattern": {"Regex": WORDS}, "behavior": "Isolated", "invert": False}
    return splits == [of_qwen2] or not (splits or model["merges"])


def gguf_name(name: str) -> str:
    """The name of our weight `name` in a GGUF file."""
    stem = name.removesuffix(".weight")
    if stem in _OUTSIDE:
        return f"{_OUTSIDE[stem]}.weight"
    _, number, inside = stem.split(".", 2)
    return f"blk.{number}.{_IN_BLOCK[inside]}.weight"


def _add_shape(writer: "GGUFWriter", run: RunSpec) -> None:
    shape = run.shape
    writer.add_name(f"isoflop-{run.run_id}")
    writer.add_context_length(shape.context_length)
    writer.add_embedding_length(shape.width)
    writer.add_block_count(shape.n_layers)
    writer.add_feed_forward_length(shape.d_ff)
    writer.add_head_count(shape.n_heads)
    writer.add_head_count_kv(shape.n_heads)
    writer.add_key_length(shape.head_dim)
    writer.add_value_length(shape.head_dim)
    writer.add_layer_norm_rms_eps(NORM_EPSILON)
    writer.add_rope_freq_base(ROPE_THETA)
    writer.add_vocab_size(shape.vocab_size)


def _add_tokens(writer: "GGUFWriter", tokenizer: Tokenizer, document: dict[str, Any]) -> None:
    model = document["model"]
    vocabulary = dict(_token_texts(document))
    texts = [vocabulary.get(token_id, f"[unused {token_id}]") for token_id in range(tokenizer.vocab_size)]
    special = {token["id"] for token in _added(document) if token["special"]}
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")  # others drop spaces when they detokenise
    writer.add_token_list(texts)
    writer.add_token_types([3 if token_id in special else 1 for token_id in range(len(texts))])  # control, normal
    writer.add_token_merges(_merges(model) or [_NO_MERGE])
    if tokenizer.separator is not None:
        for add in (writer.add_bos_token_id, writer.add_eos_token_id, writer.add_pad_token_id):
            add(tokenizer.separator)
    writer.add_add_bos_token(False)


def _merges(model: dict[str, Any]) -> list[str]:
    return [merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]]


def _token_texts(document: dict[str, Any]) -> Iterator[tuple[int, str]]:
    yield from ((token_id, text) for text, token_id in document["model"]["vocab"].items())
    yield from ((token["id"], token["content"]) for token in _added(document))


def _added(document: dict[str, Any]) -> list[dict[str, Any]]:
    return document.get("added_tokens") or []


def _add_tensor(
    writer: "GGUFWriter", name: str, weight: np.ndarray[Any, np.dtype[np.float32]], dtype: ExportDtype
) -> None:
    if dtype == "float32" or weight.ndim == 1:  # llama.cpp multiplies by norms in float32
        writer.add_tensor(name, np.ascontiguousarray(weight))
        return
    from gguf import GGMLQuantizationType

    bits = to_bfloat16(np.ascontiguousarray(weight, "<f4").view("<u4"))
    writer.add_tensor(name, bits.view(np.uint8), raw_dtype=GGMLQuantizationType.BF16)
