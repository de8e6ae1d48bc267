"""Flat tokens, counts, and no way for a text to end itself."""

import random

import numpy as np
import pytest
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers, trainers

from curation.measures.vocabulary import PIECES, Vocabulary
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


SPLITS = {
    "gpt2": pre_tokenizers.ByteLevel(add_prefix_space=False),
    "unknown to the fast engine": pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    ),
}


@pytest.mark.parametrize("split", SPLITS)
def test_the_oracle_is_hugging_face(tmp_path, split):
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = SPLITS[split]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    special = [AddedToken("<|endoftext|>", special=True), AddedToken("<think>", special=True)]
    trainer = trainers.BpeTrainer(vocab_size=2000, special_tokens=special, initial_alphabet=alphabet)
    lines = [" ".join(random.Random(n).choices(PIECES, k=40)) for n in range(300)]
    made.train_from_iterator(lines, trainer)
    made.add_tokens([AddedToken("<step>", special=False)])
    made.save(str(tmp_path / "tokenizer.json"))
    vocabulary = Vocabulary.load(tmp_path)
    made.encode_special_tokens = True
    texts = [*lines, *(f"{line}<think> a<step>b <|endoftext|>" for line in lines), "x" * 100_000, "<|endoftext|", ""]
    assert (vocabulary.fast is None) == (split != "gpt2")
    tokens, offsets = vocabulary.encode(texts)
    for position, text in enumerate(texts):
        found = tokens[offsets[position] : offsets[position + 1]].tolist()
        assert found == made.encode(text, add_special_tokens=False).ids


def test_no_texts(tokenizer):
    tokens, offsets = Vocabulary.load(tokenizer).encode([])
    assert len(tokens) == 0 and offsets.tolist() == [0]


def test_what_the_user_must_put_right(tokenizer, tmp_path):
    with pytest.raises(UserError, match="no tokenizer at"):
        Vocabulary.load(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(UserError, match="is not a tokenizer"):
        Vocabulary.load(tmp_path)
    (tmp_path / "tokenizer.json").write_text(tokenizer.read_text().replace("<|endoftext|>", "<other>"))
    with pytest.raises(UserError, match="no end-of-text token"):
        Vocabulary.load(tmp_path)
