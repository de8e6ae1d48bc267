"""Held-out loss against a plain loop of transformers, window by window, and what is counted."""

import math
import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer
from transformers import LlamaConfig, LlamaForCausalLM

from evaluation.held_out import loss as held_out_loss
from evaluation.held_out.loss import nats, prepare, ratio, rows_of
from evaluation.held_out.texts import Texts, order_of
from manifests.errors import UserError

TOKENIZER = Path(__file__).parents[2] / "recipes" / "quickstart" / "tokenizer"
PLAIN = Tokenizer.from_file(str(TOKENIZER / "tokenizer.json"))
PLAIN.encode_special_tokens = True
CONTEXT = 16
WORDS = [
    "seven",
    "+",
    "three",
    "is",
    "ten",
    "Théorème",
    "数学",
    "e\u0301",
    "👩\u200d🔬",
    "\n\n",
    "<|endoftext|>",
    "12345",
]


def texts(n: int = 24, seed: int = 0, prompts: bool = True) -> Texts:
    """Texts of 0 to 30 words from two sources, every second one with a problem before it."""
    draw = random.Random(seed)
    targets = tuple(" ".join(draw.choices(WORDS, k=draw.randint(0, 30))) for _ in range(n))
    before = tuple(
        "Question:\n" + " ".join(draw.choices(WORDS, k=i // 2)) + "\n" if prompts and i % 2 else "" for i in range(n)
    )
    source = tuple("web" if draw.random() < 0.7 else "qa" for _ in range(n))
    return Texts("corpus-0", "documents", tuple(f"{i:032x}" for i in range(n)), before, targets, {"source": source})


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Small matrices gain nothing from more."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def model() -> LlamaForCausalLM:
    torch.manual_seed(0)
    size = Tokenizer.from_file(str(TOKENIZER / "tokenizer.json")).get_vocab_size()
    shape = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = LlamaConfig(vocab_size=size, max_position_embeddings=CONTEXT, attention_dropout=0.5, **shape)
    return LlamaForCausalLM(config).train()


def plainly(model: LlamaForCausalLM, prompt: str, target: str) -> tuple[float, int, int]:
    """Nats, tokens and bytes of one text, as one would write it by hand: window by window, token by token."""
    tokenizer = PLAIN
    before, encoding = (
        tokenizer.encode(prompt).ids if prompt else [],
        tokenizer.encode(target, add_special_tokens=False),
    )
    whole, total, tokens, lost = before + encoding.ids, 0.0, 0, 0
    for first in range(0, len(whole), CONTEXT):
        window = whole[first : first + CONTEXT]
        with torch.no_grad():
            logprobs = model(torch.tensor([window])).logits.log_softmax(-1)[0]
        if first >= len(before):
            end = [0, *(e for _, e in encoding.offsets)]
            place = first - len(before)
            lost += len(target[end[place] : end[place + 1]].encode())
        for i in range(1, len(window)):
            if first + i >= len(before):
                total -= logprobs[i - 1, window[i]].item()
                tokens += 1
    return total, tokens, len(target.encode()) - lost


def test_it_equals_a_plain_loop(model, monkeypatch):
    monkeypatch.setitem(held_out_loss.LOGITS_BYTES, "cpu", 1 << 19)  # several batches
    given, prepared = texts(), prepare(texts(), TOKENIZER, CONTEXT)
    assert len(held_out_loss._batches(model, prepared.windows)) > 3
    found = nats(model, prepared)
    assert model.training
    model.eval()
    expected = [plainly(model, *pair) for pair in zip(given.prompts, given.targets, strict=True)]
    model.train()
    assert found == pytest.approx([one for one, _, _ in expected], rel=1e-5, abs=1e-5)
    assert prepared.windows.n_tokens.tolist() == [one for _, one, _ in expected]
    assert prepared.windows.n_bytes.tolist() == [one for _, _, one in expected]
    [row] = [row for row in rows_of(prepared, found, 7, "run-1", True) if row["slice"] == "all"]
    assert row["loss"] == pytest.approx(sum(x for x, _, _ in expected) / sum(n for _, n, _ in expected), rel=1e-5)
    assert row["bits_per_byte"] == pytest.approx(
        sum(x for x, _, _ in expected) / math.log(2) / sum(n for _, _, n in expected), rel=1e-5
    )


def test_a_text_within_the_context_is_transformers_own_loss(model):
    one = Texts("corpus-0", "documents", ("a",), ("",), ("seven + three is ten",), {"source": ("web",)})
    prepared = prepare(one, TOKENIZER, CONTEXT)
    ids = torch.from_numpy(prepared.windows.tokens)[None]
    model.eval()
    theirs = model(ids, labels=ids).loss.item()
    model.train()
    [row, _] = rows_of(prepared, nats(model, prepared), 0, None, True)
    assert row["loss"] == pytest.approx(theirs, abs=1e-5)
    assert row["loss_error"] is None and row["n_tokens"] == ids.shape[1] - 1


def test_slices_add_up_and_ranks_too(model):
    prepared = prepare(texts(), TOKENIZER, CONTEXT)
    found = nats(model, prepared)
    assert sum(nats(model, prepared, rank, 3) for rank in range(3)) == pytest.approx(found, rel=1e-12)
    rows = rows_of(prepared, found, 0, None, True)
    whole, parts = rows[0], [row for row in rows if row["slice"] == "source"]
    for name in ("n_documents", "n_tokens", "n_bytes"):
        assert whole[name] == sum(part[name] for part in parts)
    assert whole["loss"] * whole["n_tokens"] == pytest.approx(sum(p["loss"] * p["n_tokens"] for p in parts))
    assert whole["bits_per_byte"] * whole["n_bytes"] * math.log(2) == pytest.approx(whole["loss"] * whole["n_tokens"])


def test_measuring_draws_no_random_number_and_leaves_no_gradient(model):
    before = torch.get_rng_state()
    nats(model, prepare(texts(8), TOKENIZER, CONTEXT))
    assert torch.equal(before, torch.get_rng_state())
    assert all(weight.grad is None for weight in model.parameters())


def test_limits_depend_on_nothing_but_the_ids():
    ids = [f"{i:032x}" for i in range(50)]
    first = [ids[i] for i in order_of(ids)[:10]]
    turned = ids[::-1]
    assert [turned[i] for i in order_of(turned)[:10]] == first
    assert [one for one in (ids[i] for i in order_of(ids)) if one in {*first}] == first
    some = prepare(texts(), TOKENIZER, CONTEXT, max_tokens=500)
    assert 0 < len(some.texts) < 24 and some.windows.n_tokens.sum() <= 500
    assert len(prepare(texts(), TOKENIZER, CONTEXT, max_tokens=1).texts) >= 1


def test_the_digest_is_of_the_texts_in_any_order():
    one = texts()
    assert one.take(range(23, -1, -1)).digest == one.digest != one.take(range(23)).digest


def test_a_tokenizer_with_more_tokens_than_the_model(model):
    prepared = prepare(texts(8), TOKENIZER, CONTEXT)
    small = LlamaForCausalLM(
        LlamaConfig(vocab_size=8, hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2)
    )
    with pytest.raises(UserError, match=r"gives token \d+, and the model has 8"):
        nats(small, prepared)


@settings(max_examples=20)
@given(st.integers(0, 2**32), st.integers(20, 60))
def test_the_standard_error_is_that_of_the_ratio(seed, n):
    """Against the spread of the ratio over draws of documents: within a third, for a few hundred draws."""
    draw = np.random.default_rng(seed)
    below = draw.integers(5, 50, 4000).astype(float)
    above = below * draw.normal(3, 0.5, 4000)
    drawn = [draw.integers(0, 4000, n) for _ in range(300)]
    found = [ratio(above[one], below[one]) for one in drawn]
    spread = float(np.std([value for value, _ in found]))
    assert float(np.mean([error for _, error in found])) == pytest.approx(spread, rel=0.33)
