"""The same checkpoint, prompts and items in lm-evaluation-harness: responses and verdicts agree, item by item."""

import json

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

pytestmark = pytest.mark.engine


@pytest.fixture
def model_dir(tmp_path):
    """A random model that writes digits and blanks, so that responses hold answers."""
    alphabet = ["<eos>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    inner = Tokenizer(models.BPE({letter: i for i, letter in enumerate(alphabet)}, []))
    inner.pre_tokenizer, inner.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=257, hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2,
        max_position_embeddings=512, initializer_range=0.5, eos_token_id=0, bos_token_id=None, pad_token_id=0,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        for letter in "0123456789Ġ":
            model.lm_head.weight[alphabet.index(letter)] *= 3
    folder = tmp_path / "model"
    model.save_pretrained(folder)
    PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="<eos>").save_pretrained(folder)
    return folder


def test_responses_and_verdicts_are_the_harnesss(tmp_path, model_dir):
    pytest.importorskip("lm_eval")
    from benchmarks.harness import compare

    items = tmp_path / "items.jsonl"

    def run(golds):
        rows = [{"question": f"What is {i} + {i}?", "answer": f"So.\n#### {gold}"} for i, gold in enumerate(golds)]
        items.write_text("\n".join(map(json.dumps, rows)))
        return compare(model_dir, items, limit=len(rows), tokens=12, shots=0)

    first = run(["-1"] * 16)
    assert [row["our_response"] for row in first] == [row["their_response"] for row in first]
    found = [
        row["their_answer"] if i % 2 and row["their_answer"] != "[invalid]" else "-1" for i, row in enumerate(first)
    ]
    again = run(found)
    assert [row["we_say"] for row in again] == [row["they_say"] for row in again]
    assert 0 < sum(row["we_say"] for row in again) < 16
