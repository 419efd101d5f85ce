"""model.gguf, read back."""

from pathlib import Path

import numpy as np
import pytest

from isoflop.export.gguf_file import gguf_name, write_gguf
from tests.hf.exports import make_example

gguf = pytest.importorskip("gguf")


@pytest.mark.parametrize("name", ["64k", "bpe 512"])
def test_every_weight_and_token_is_read_back_from_a_gguf_file(tmp_path: Path, name: str) -> None:
    example = make_example(name, tmp_path / "model")
    weights = {key: weight.detach().numpy() for key, weight in example.model.named_parameters()}
    path = tmp_path / "model.gguf"
    write_gguf(path, example.run, weights, example.tokenizer, "float32")
    reader = gguf.GGUFReader(path)
    tensors = {tensor.name: tensor for tensor in reader.tensors}
    assert tensors.keys() == {gguf_name(key) for key in weights}
    for key, weight in weights.items():
        assert np.array_equal(tensors[gguf_name(key)].data.reshape(weight.shape), weight)
    shape = example.run.shape
    assert reader.get_field("qwen3.block_count").contents() == shape.n_layers
    assert reader.get_field("qwen3.context_length").contents() == shape.context_length
    assert reader.get_field("tokenizer.ggml.pre").contents() == "qwen2"
    assert len(reader.get_field("tokenizer.ggml.tokens").contents()) == shape.vocab_size
    assert reader.get_field("tokenizer.ggml.eos_token_id").contents() == example.tokenizer.separator


def test_bfloat16_matrices_and_float32_gains(tmp_path: Path) -> None:
    example = make_example("20k", tmp_path / "model")
    weights = {key: weight.detach().numpy() for key, weight in example.model.named_parameters()}
    write_gguf(tmp_path / "model.gguf", example.run, weights, example.tokenizer, "bfloat16")
    for tensor in gguf.GGUFReader(tmp_path / "model.gguf").tensors:
        assert tensor.tensor_type.name == ("F32" if tensor.name.endswith("norm.weight") else "BF16")


def test_llama_cpp_says_what_we_say(tmp_path: Path) -> None:
    llama_cpp = pytest.importorskip("llama_cpp", reason="llama.cpp's Python package is not installed")
    example = make_example("64k", tmp_path / "model")
    weights = {key: weight.detach().numpy() for key, weight in example.model.named_parameters()}
    write_gguf(tmp_path / "model.gguf", example.run, weights, example.tokenizer, "float32")
    theirs = llama_cpp.Llama(str(tmp_path / "model.gguf"), n_ctx=64, logits_all=True, verbose=False)
    tokens = theirs.tokenize(b"import os", add_bos=False)
    assert tokens == list(b"import os")
