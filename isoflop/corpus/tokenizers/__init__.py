"""Tokenizers: bytes, a BPE trained on the text, or any tokenizer.json."""
