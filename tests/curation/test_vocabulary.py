"""Flat tokens, counts, and no way for a text to end itself."""

import numpy as np
import pytest
from tokenizers import Tokenizer

from curation.vocabulary import Vocabulary
from manifests.errors import UserError


def test_encodes_flat_and_counts_the_same(tokenizer):
    vocabulary = Vocabulary.load(tokenizer)
    texts = ["the sum of two", "", "naïve ×\n", "x" * 3000] * 400
    tokens, offsets = vocabulary.encode(texts)
    assert tokens.dtype == np.uint16 and len(offsets) == len(texts) + 1 and offsets[-1] == len(tokens)
    assert vocabulary.count(texts).tolist() == np.diff(offsets).tolist()
    oracle = Tokenizer.from_file(str(tokenizer))
    assert tokens[offsets[1202] : offsets[1203]].tolist() == oracle.encode(texts[1202], add_special_tokens=False).ids


def test_a_text_cannot_spell_the_end_of_text(tokenizer):
    vocabulary = Vocabulary.load(tokenizer.parent)
    tokens, _ = vocabulary.encode(["before <|endoftext|> after"])
    assert vocabulary.eos_id not in tokens.tolist()


def test_no_texts(tokenizer):
    tokens, offsets = Vocabulary.load(tokenizer).encode([])
    assert len(tokens) == 0 and offsets.tolist() == [0]


def test_what_the_user_must_put_right(tokenizer, tmp_path):
    with pytest.raises(UserError, match="no tokenizer at"):
        Vocabulary.load(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(UserError, match="is no tokenizer"):
        Vocabulary.load(tmp_path)
    (tmp_path / "tokenizer.json").write_text(tokenizer.read_text().replace("<|endoftext|>", "<other>"))
    with pytest.raises(UserError, match="no end-of-text token"):
        Vocabulary.load(tmp_path)
