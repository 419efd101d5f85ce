"""tokenizer.json and tokenizer_config.json: the tokens that the run was trained on, for Hugging Face's tools."""

import json
from collections.abc import Iterator

from isoflop.corpus import Tokenizer
from isoflop.errors import IsoflopError

END_OF_TEXT = "<|endoftext|>"


def tokenizer_files(tokenizer: Tokenizer, context_length: int) -> dict[str, bytes]:
    """Both files by name.

    Raises:
        IsoflopError: the tokenizer's separator has no text, so that no decoding could start or end.
    """
    content = tokenizer.file if tokenizer.file is not None else _byte_tokenizer(tokenizer)
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        **dict.fromkeys(("bos_token", "eos_token", "pad_token"), separator_text(tokenizer)),
        "model_max_length": context_length,
        "padding_side": "left",
        "clean_up_tokenization_spaces": False,
    }
    return {"tokenizer.json": content, "tokenizer_config.json": (json.dumps(config, indent=1) + "\n").encode()}


def separator_text(tokenizer: Tokenizer) -> str:
    """The text of the token that ends a document.

    Raises:
        IsoflopError: nobody said which token that is, or the tokenizer.json has none of that id.
    """
    if tokenizer.file is None:
        return END_OF_TEXT
    for token_id, text in _tokens(json.loads(tokenizer.file)):
        if token_id == tokenizer.separator:
            return text
    raise IsoflopError(
        f"The tokenizer {tokenizer.name} has no token of the id {tokenizer.separator} that ends a document.",
        hint="Name it with tokenizer.separator in the sweep file, and train again.",
    )


def _tokens(document: dict[str, object]) -> Iterator[tuple[int, str]]:
    added = document.get("added_tokens")
    for token in added if isinstance(added, list) else ():
        yield token["id"], token["content"]
    model = document.get("model")
    vocabulary = model.get("vocab") if isinstance(model, dict) else None
    for text, token_id in (vocabulary or {}).items() if isinstance(vocabulary, dict) else ():
        yield token_id, text


def _byte_tokenizer(tokenizer: Tokenizer) -> bytes:
    """The byte tokenizer as a BPE without merges, each byte by the letter that GPT-2 prints for it."""
    separator = tokenizer.separator
    vocabulary = {letter: byte for byte, letter in enumerate(byte_letters())} | {END_OF_TEXT: separator}
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    document: dict[str, object] = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": separator, "content": END_OF_TEXT, **flags, "special": True}],
        "normalizer": None,
        "pre_tokenizer": byte_level,
        "post_processor": None,
        "decoder": byte_level,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "vocab": vocabulary,
            "merges": [],
        },
    }
    return (json.dumps(document, ensure_ascii=False, indent=1) + "\n").encode()


def byte_letters() -> list[str]:
    """The letter that stands for each byte: itself where it can be seen, else the next free one from U+0100 on.

    Source: GPT-2's encoder, Radford et al. 2019; the ByteLevel pre-tokenizer of `tokenizers` uses the same.
    """
    visible = {*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)}
    free = iter(range(0x100, 0x200))
    return [chr(byte if byte in visible else next(free)) for byte in range(256)]
