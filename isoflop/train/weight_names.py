"""The group of a parameter, as its name in somebody else's module tells it."""

import re
from typing import Literal

Group = Literal["embedding", "attention", "mlp", "norm", "head"]

# Words of names in GPT-2, nanoGPT, nanochat, torchtitan, GPT-NeoX, Hugging Face's models and torch's own layers; a norm
# inside of attention is a norm, so these come first.
WORDS: tuple[tuple[Group, frozenset[str]], ...] = (
    ("norm", frozenset({"norm", "ln", "lnf", "layernorm", "rmsnorm", "groupnorm", "batchnorm"})),
    ("head", frozenset({"head", "lmhead", "unembed", "unembedding"})),
    ("embedding", frozenset({
        "embed", "embeds", "embedding", "embeddings", "emb", "wte", "wpe", "tok", "token", "tokens", "pos", "position",
        "positions",
    })),
    ("attention", frozenset({
        "attn", "attention", "qkv", "kv", "q", "k", "v", "o", "wq", "wk", "wv", "wo", "query", "key", "value",
    })),
    ("mlp", frozenset({"mlp", "ffn", "ff", "feedforward", "moe", "expert", "experts", "fc", "gate", "up", "down"})),
)  # fmt: skip
# Whole parts of a name whose words would say something else, or nothing.
PARTS: dict[str, Group] = {
    "embed_out": "head", "output": "head", "feed_forward": "mlp", "linear1": "mlp", "linear2": "mlp",
}  # fmt: skip


def group_of(name: str) -> Group | None:
    """The group of the parameter `name` ("h.0.attn.c_proj.weight"): what its innermost telling part says; None where
    no part tells.
    """
    for part in reversed(name.split(".")):
        spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", part).lower()
        if spaced in PARTS:
            return PARTS[spaced]
        words = {word.rstrip("0123456789") for word in spaced.split("_")} | set(spaced.split("_"))
        for group, telling in WORDS:
            if words & telling:
                return group
    return None
