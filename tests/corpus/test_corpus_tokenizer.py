import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from isoflop.corpus import make_tokenizer
from isoflop.corpus.tokenizer import BYTE, bytes_per_token
from isoflop.spec import TokenizerSpec


@given(st.binary(max_size=300))
def test_every_text_comes_back_and_its_separator_is_the_last_token(text: bytes) -> None:
    tokens = BYTE.encode(text)
    assert tokens.dtype == np.uint16
    assert tokens.tolist() == [*text, 256]
    assert BYTE.decode(tokens) == text


def test_the_byte_tokenizer_has_256_bytes_and_a_separator() -> None:
    tokenizer = make_tokenizer(TokenizerSpec())
    assert (tokenizer.name, tokenizer.vocab_size, tokenizer.separator) == ("byte", 257, 256)


def test_several_documents_decode_to_their_texts_without_separators() -> None:
    tokens = np.concatenate([BYTE.encode(b"one"), BYTE.encode(b""), BYTE.encode(b"two")])
    assert BYTE.decode(tokens) == b"onetwo"


def test_a_token_outside_the_vocabulary_is_a_bug_of_the_caller() -> None:
    with pytest.raises(ValueError, match="257"):
        BYTE.decode(np.array([65, 257], np.uint16))


def test_bytes_per_token_counts_separators_as_tokens() -> None:
    texts = [b"abc", b"defgh"]
    n_tokens = sum(len(BYTE.encode(text)) for text in texts)
    assert bytes_per_token(sum(map(len, texts)), n_tokens) == 8 / 10
