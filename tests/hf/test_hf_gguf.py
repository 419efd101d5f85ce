"""model.gguf, read back."""

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch

from isoflop.export.gguf_file import gguf_name, write_gguf
from tests.hf.exports import make_example

gguf = pytest.importorskip("gguf")

PROGRAM = Path(__file__).with_name("llama.mjs")
# `npm install node-llama-cpp` anywhere (730 MB, a llama.cpp built for this machine among them) makes one.
MODULES = os.environ.get("LLAMA_NODE_MODULES")


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


@pytest.mark.skipif(MODULES is None, reason="LLAMA_NODE_MODULES names no node_modules with node-llama-cpp")
@pytest.mark.parametrize("name", ["64k", "bpe 512"])
def test_llama_cpp_itself_has_our_tokens_text_and_probabilities(tmp_path: Path, name: str) -> None:
    example = make_example(name, tmp_path / "model")
    weights = {key: weight.detach().numpy() for key, weight in example.model.named_parameters()}
    path = tmp_path / "model.gguf"
    write_gguf(path, example.run, weights, example.tokenizer, "float32")
    text = "def f(x):\n    return  'é 漢' # x\n"
    command = ["node", str(PROGRAM), str(MODULES), str(path), text]
    said = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    tokens = example.tokenizer.encode(text.encode())[:-1].tolist()
    assert (said["tokens"], said["text"]) == (tokens, text)
    with torch.no_grad():
        own = example.model(torch.tensor([tokens]))[0].log_softmax(-1)
    for position, likeliest in enumerate(said["logs"]):
        for token, log in likeliest:
            assert log == pytest.approx(float(own[position, token]), abs=1e-4)
