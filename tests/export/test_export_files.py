"""What an export is made of, without the libraries that read it (those: tests/hf)."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load

from isoflop.corpus.tokenizers.bpe import train_bpe
from isoflop.corpus.tokenizers.tokenizer import BYTE
from isoflop.corpus.tokenizers.tokenizer_file import file_tokenizer
from isoflop.errors import IsoflopError
from isoflop.export.folder import refuse_another, write_folder
from isoflop.export.gguf_file import tokenizer_document
from isoflop.export.model_config import model_config
from isoflop.export.tensors import read_weights, serialized, to_bfloat16
from isoflop.export.tokenizer_files import separator_text, tokenizer_files
from isoflop.train.checkpoint import load_weights, save_weights
from isoflop.train.model import build_model
from tests.run_examples import RUN

BYTE_FILE = tokenizers.Tokenizer.from_str(tokenizer_files(BYTE, 64)["tokenizer.json"].decode())


def test_what_readers_would_guess_wrong_is_spelled_out() -> None:
    config = model_config(RUN, separator=256, dtype="float32")
    assert config["rope_theta"] == config["rope_parameters"]["rope_theta"] == 10_000
    assert config["tie_word_embeddings"] is config["use_sliding_window"] is False
    assert (config["head_dim"], config["num_key_value_heads"]) == (RUN.shape.head_dim, RUN.shape.n_heads)


def test_every_weight_is_there_under_its_other_name_with_its_own_values() -> None:
    model = build_model(RUN.shape, seed=3)
    content = serialized({name: weight.detach().numpy() for name, weight in model.named_parameters()}, "float32")
    read = load(content)
    for name, weight in model.named_parameters():
        assert read.pop(name if name == "lm_head.weight" else f"model.{name}").equal(weight)
    assert not read


def test_bfloat16_is_what_torch_rounds_to_and_a_file_of_it_is_read_as_such() -> None:
    values = torch.randn(1000, generator=torch.Generator().manual_seed(0)) * torch.logspace(-30, 30, 1000)
    halves = torch.tensor([1.00390625, 1.01171875, -1.00390625, 0.0, -0.0])  # ties, to even
    weights = torch.cat((values, halves))
    bits = to_bfloat16(weights.numpy().view("<u4"))
    assert torch.from_numpy(bits.view(np.int16)).view(torch.bfloat16).equal(weights.to(torch.bfloat16))
    read = load(serialized({"norm.weight": weights.numpy()}, "bfloat16"))
    assert read["model.norm.weight"].equal(weights.to(torch.bfloat16))


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=60))
def test_the_byte_tokenizers_file_gives_the_bytes(text: str) -> None:
    if "<|endoftext|>" not in text:
        assert BYTE_FILE.encode(text).ids == list(text.encode())
        assert BYTE_FILE.decode(list(text.encode())) == text


def test_any_bytes_are_decoded_as_python_decodes_them() -> None:
    drawn = np.random.default_rng(0)
    for _ in range(300):
        values = drawn.integers(0, 256, drawn.integers(1, 30)).tolist()
        assert BYTE_FILE.decode(values) == bytes(values).decode("utf-8", "replace")


def test_the_separator_is_start_end_and_padding() -> None:
    bpe = file_tokenizer(train_bpe([b"some text " * 50], 300), kind="bpe", where="the test's")
    for tokenizer in (BYTE, bpe):
        files = tokenizer_files(tokenizer, 64)
        config = json.loads(files["tokenizer_config.json"])
        assert {config[key] for key in ("bos_token", "eos_token", "pad_token")} == {separator_text(tokenizer)}
        read = tokenizers.Tokenizer.from_str(files["tokenizer.json"].decode())
        assert read.token_to_id(separator_text(tokenizer)) == tokenizer.separator


@pytest.mark.parametrize("damage", ["cut", "other shape", "other run", "no tensors", "gone"])
def test_damaged_weights_are_one_sentence_for_both_readers(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "w.safetensors"
    shape = RUN.shape if damage != "other shape" else type(RUN.shape)(**{**RUN.shape.as_dict(), "d_ff": 40})
    save_weights(path, "0123456789ab" if damage == "other run" else RUN.run_id, build_model(shape, seed=0))
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-100])
    elif damage == "no tensors":
        path.write_bytes(b"not a file of tensors")
    elif damage == "gone":
        path.unlink()
    for read in (read_weights, load_weights):
        with pytest.raises(IsoflopError) as caught:
            read(path, RUN)
        assert "w.safetensors" in caught.value.message and "isoflop run SWEEP --again" in caught.value.hint
        with pytest.raises(IsoflopError) as caught:
            read(path, RUN, Path("my sweep.toml"))
        assert f"`isoflop run 'my sweep.toml' --again {RUN.run_id}`" in caught.value.hint


def test_an_export_replaces_nothing_but_an_export_of_the_same_run(tmp_path: Path) -> None:
    def files(run_id: str) -> dict[str, bytes]:
        return {"a": b"x", "config.json": json.dumps({"isoflop": {"run_id": run_id}}).encode()}

    out = tmp_path / "deep" / "out"
    refuse_another(out, "1")
    assert [path.name for path in write_folder(out, files("1"))] == ["a", "config.json"]
    refuse_another(out, "1")
    (out / "notes.txt").write_text("mine")
    write_folder(out, {**files("1"), "a": b"y"})
    assert ((out / "a").read_bytes(), (out / "notes.txt").read_text()) == (b"y", "mine")
    assert {path.name for path in out.parent.iterdir()} == {"out"}
    for what, message in (
        (lambda: refuse_another(out, "2"), "another run, 1"),
        (lambda: refuse_another(out / "a", "1"), "not a folder"),
        (lambda: refuse_another(out / "a" / "b", "1"), "not a folder"),
        (lambda: refuse_another(tmp_path, "1"), "not empty"),
    ):
        with pytest.raises(IsoflopError, match=message):
            what()


def test_a_gguf_of_an_earlier_export_does_not_outlive_it(tmp_path: Path) -> None:
    out = tmp_path / "out"
    write_folder(out, {"config.json": b"{}", "model.gguf": b"float32"})
    write_folder(out, {"config.json": b"{}"})
    assert [path.name for path in out.iterdir()] == ["config.json"]


class Full(dict[str, bytes]):
    """Files of which the last finds no room."""

    def __getitem__(self, name: str) -> bytes:
        if name == "config.json":
            raise OSError(28, "No space left on device")
        return super().__getitem__(name)


def test_a_full_disk_leaves_no_folder(tmp_path: Path) -> None:
    with pytest.raises(IsoflopError, match="No space left"):
        write_folder(tmp_path / "out", Full({"a": b"x", "config.json": b"{}"}))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("earlier", [{}, {"config.json": b"{}", "a": b"float32", "model.gguf": b"float32"}])
def test_a_full_disk_leaves_a_folder_that_was_there_as_it_was(tmp_path: Path, earlier: dict[str, bytes]) -> None:
    for name, content in earlier.items():
        (tmp_path / name).write_bytes(content)
    with pytest.raises(IsoflopError, match="No space left"):
        write_folder(tmp_path, Full({"a": b"bfloat16", "config.json": b"{}"}))
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == earlier


@pytest.mark.parametrize("moved", [0, 1], ids=["before its files are moved in", "while they are"])
def test_an_export_that_was_killed_is_finished_by_the_same_command(tmp_path: Path, moved: int) -> None:
    files = {"a": b"x", "config.json": json.dumps({"isoflop": {"run_id": "1"}}).encode()}
    with subprocess.Popen(["true"]) as dead:
        pass
    for leftover in (tmp_path / "empty" / f".export.{dead.pid}.tmp", tmp_path / f".new.{dead.pid}.tmp"):
        write_folder(leftover, files)
    for name in list(files)[:moved]:
        (tmp_path / "empty" / f".export.{dead.pid}.tmp" / name).rename(tmp_path / "empty" / name)
    if moved:
        with pytest.raises(IsoflopError, match="another run, 1"):
            refuse_another(tmp_path / "empty", "2")
    for out in (tmp_path / "empty", tmp_path / "new"):
        refuse_another(out, "1")
        write_folder(out, files)
        assert {path.name: path.read_bytes() for path in out.iterdir()} == files
    assert {path.name for path in tmp_path.iterdir()} == {"empty", "new"}


def _words_of_gpt2(document: dict[str, Any]) -> None:
    document["pre_tokenizer"] = {
        "type": "ByteLevel",
        "add_prefix_space": False,
        "trim_offsets": True,
        "use_regex": True,
    }


def _no_bytes(document: dict[str, Any]) -> None:
    document["pre_tokenizer"] = {"type": "Metaspace", "replacement": "_", "prepend_scheme": "always"}


def _lower_case(document: dict[str, Any]) -> None:
    document["normalizer"] = {"type": "Lowercase"}


@pytest.mark.parametrize("change", [_words_of_gpt2, _no_bytes, _lower_case])
def test_a_tokenizer_that_llama_cpp_would_read_otherwise_is_refused(change: Callable[[dict[str, Any]], None]) -> None:
    made = train_bpe([b"the cat sat on the mat " * 50], 300)
    document = json.loads(made)
    assert tokenizer_document(file_tokenizer(made, kind="bpe", where="here")) == document
    assert tokenizer_document(BYTE)["model"]["merges"] == []
    change(document)
    with pytest.raises(IsoflopError, match="other tokens"):
        tokenizer_document(file_tokenizer(json.dumps(document).encode(), kind="file", where="here"))
