"""The sampler: `generate` when greedy, independent of batching when not, the model's own probabilities."""

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM, PreTrainedTokenizerFast

from evaluation.samplers.sampling import SamplingParams, cut_at
from evaluation.samplers.transformers_sampler import encode, load_model, sample
from manifests.errors import UserError

PROMPTS = ["2+2=", "What is 7 times 8?", "a", "Solve x^2 = 4 for x.", "b", "Why", "1, 1, 2, 3, 5, 8, 13,"]
TINY = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "initializer_range": 0.4,  # far from uniform, so that greedy choices are no ties
    "eos_token_id": 0,
    "bos_token_id": None,
    "pad_token_id": 0,
}


@pytest.fixture(scope="module")
def tokenizer():
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    inner = Tokenizer(models.BPE({"<eos>": 0} | {letter: i + 1 for i, letter in enumerate(alphabet)}, []))
    inner.pre_tokenizer, inner.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="<eos>")


@pytest.fixture(scope="module")
def model(tokenizer):
    torch.manual_seed(0)
    torch.set_num_threads(1)
    return LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), **TINY)).eval()


def flat(groups):
    return [completion for group in groups for completion in group]


def by_generate(model, ids, tokens):
    made = model.generate(torch.tensor([ids]), max_new_tokens=tokens, do_sample=False, pad_token_id=0)[0, len(ids) :]
    return made.tolist()


@pytest.mark.parametrize("max_rows", [1, 3, 64])
def test_greedy_is_what_generate_gives(model, tokenizer, max_rows):
    found = flat(sample(model, tokenizer, PROMPTS, SamplingParams(24), max_rows=max_rows))
    wanted = [by_generate(model, ids, 24) for ids in encode(tokenizer, PROMPTS)]
    assert [completion.token_ids for completion in found] == wanted


@pytest.mark.parametrize("shared", [63, 64, 90])
def test_what_all_prompts_begin_with_is_read_once_and_changes_nothing(model, tokenizer, shared):
    """Also where a prompt ends with it, and where all are one prompt."""
    before = ("Question: 1 + 1. Answer: 2. " * 4)[:shared]
    for prompts in ([before + text for text in (*PROMPTS, "")], [before] * 3):
        found = flat(sample(model, tokenizer, prompts, SamplingParams(12)))
        assert [one.token_ids for one in found] == [by_generate(model, ids, 12) for ids in encode(tokenizer, prompts)]


def test_greedy_with_sliding_windows_is_what_generate_gives(tokenizer):
    torch.manual_seed(1)
    model = MistralForCausalLM(MistralConfig(vocab_size=len(tokenizer), sliding_window=8, **TINY)).eval()
    found = flat(sample(model, tokenizer, PROMPTS, SamplingParams(16)))
    assert [one.token_ids for one in found] == [by_generate(model, ids, 16) for ids in encode(tokenizer, PROMPTS)]


def test_sampling_does_not_depend_on_the_batch(model, tokenizer):
    params = SamplingParams(24, temperature=1.0, n=4, seed=7)
    whole = sample(model, tokenizer, PROMPTS, params)
    single = sample(model, tokenizer, PROMPTS, params, max_rows=1)
    part = sample(model, tokenizer, PROMPTS[3:5], params, streams=[3, 4], max_rows=3)
    assert [one.token_ids for one in flat(whole)] == [one.token_ids for one in flat(single)]
    assert [one.token_ids for one in flat(whole[3:5])] == [one.token_ids for one in flat(part)]


def test_samples_differ_from_each_other_and_with_the_seed(model, tokenizer):
    first, second = (flat(sample(model, tokenizer, ["2+2="], SamplingParams(24, 1.0, 8, seed=seed))) for seed in (0, 1))
    assert len({tuple(one.token_ids) for one in first}) > 4
    assert [one.token_ids for one in first] != [one.token_ids for one in second]


def test_a_longer_limit_continues_the_same_samples(model, tokenizer):
    short, long = (flat(sample(model, tokenizer, PROMPTS, SamplingParams(n, 1.0, 2, seed=3))) for n in (8, 16))
    assert all(b.token_ids[: a.tokens] == a.token_ids for a, b in zip(short, long, strict=True))


@pytest.mark.parametrize("temperature", [0.0, 0.7, 1.0])
def test_logprobs_are_those_of_a_full_forward_pass(model, tokenizer, temperature):
    found = flat(sample(model, tokenizer, PROMPTS, SamplingParams(20, temperature, 3, seed=5)))
    prompts = [ids for ids in encode(tokenizer, PROMPTS) for _ in range(3)]
    for ids, completion in zip(prompts, found, strict=True):
        with torch.no_grad():
            logits = model(torch.tensor([ids + completion.token_ids])).logits[0, len(ids) - 1 : -1]
        wanted = logits.log_softmax(-1).gather(1, torch.tensor(completion.token_ids)[:, None])[:, 0]
        torch.testing.assert_close(torch.tensor(completion.logprobs), wanted, atol=1e-4, rtol=1e-4)


def test_frequencies_follow_the_probabilities(model, tokenizer):
    found = flat(sample(model, tokenizer, ["2+2="], SamplingParams(1, 0.5, 4000, seed=1)))
    with torch.no_grad():
        logits = model(torch.tensor(encode(tokenizer, ["2+2="]))).logits[0, -1]
    wanted = (logits / 0.5).softmax(-1)
    seen = torch.bincount(torch.tensor([one.token_ids[0] for one in found]), minlength=len(wanted)) / len(found)
    assert (seen - wanted).abs().max() < 5 * (0.25 / 4000) ** 0.5


def test_eos_ends_a_completion_and_is_counted(model, tokenizer):
    found = flat(sample(model, tokenizer, PROMPTS, SamplingParams(60, 1.0, 20, seed=2)))
    ended = [one for one in found if not one.truncated]
    assert ended and all(one.token_ids[-1] == 0 and 0 not in one.token_ids[:-1] for one in ended)
    assert all(0 not in one.token_ids and one.tokens == 60 for one in found if one.truncated)
    assert all(one.tokens == len(one.token_ids) == len(one.logprobs) for one in found)
    assert not any("<eos>" in one.text for one in found)


def test_a_stop_string_ends_a_completion_before_it(model, tokenizer):
    free = flat(sample(model, tokenizer, PROMPTS, SamplingParams(30)))
    stop = next(one.text[4:7] for one in free if len(one.text) > 8)
    for one, other in zip(free, flat(sample(model, tokenizer, PROMPTS, SamplingParams(30, stop=(stop,)))), strict=True):
        assert other.text == one.text.split(stop)[0]
        assert other.truncated == (one.truncated and stop not in one.text)
        assert one.token_ids[: other.tokens] == other.token_ids
        assert other.stopped_by == (stop if stop in one.text else None) and one.stopped_by is None


def test_stops_at_the_start_of_a_line_are_found_wherever_tokens_end(model, tokenizer):
    free = flat(sample(model, tokenizer, PROMPTS, SamplingParams(60, 1.0, 20, seed=2)))
    stops = ("\n", "a\n", "\nb")
    for one, other in zip(
        free, flat(sample(model, tokenizer, PROMPTS, SamplingParams(60, 1.0, 20, stops, seed=2))), strict=True
    ):
        assert (other.text, other.stopped_by) == cut_at(one.text, stops)
        assert one.token_ids[: other.tokens] == other.token_ids


def test_the_first_stop_string_cuts():
    assert cut_at("5.\nUser: 6\nAnswer:\n7", ("\nAnswer:\n", "\nUser:")) == ("5.", "\nUser:")
    assert cut_at("abc", ("bc", "b")) == ("a", "bc") and cut_at("abc", ()) == ("abc", None)


def test_the_context_ends_a_completion(model, tokenizer):
    (only,) = flat(sample(model, tokenizer, ["x" * 120], SamplingParams(50, 1.0, seed=4)))
    assert only.tokens <= 8


def test_prompts_that_cannot_be_continued_are_refused(model, tokenizer):
    with pytest.raises(UserError, match=r"prompt 1 has 128 tokens .* context of 128"):
        sample(model, tokenizer, ["a", "x" * 128], SamplingParams(4))
    with pytest.raises(UserError, match="prompt 0 is empty"):
        sample(model, tokenizer, [""], SamplingParams(4))


def test_no_prompts_give_no_completions(model, tokenizer):
    assert sample(model, tokenizer, [], SamplingParams(4)) == []


def test_training_mode_is_left_as_it_was(model, tokenizer):
    model.train()
    sample(model, tokenizer, ["a"], SamplingParams(2))
    assert model.training
    model.eval()


def test_a_saved_folder_is_loaded_and_a_wrong_one_named(model, tokenizer, tmp_path):
    model.save_pretrained(tmp_path)
    with pytest.raises(UserError, match=r"tokenizer\.json is missing"):
        load_model(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    loaded = load_model(tmp_path)
    assert flat(sample(*loaded, PROMPTS, SamplingParams(8))) == flat(
        sample(model, tokenizer, PROMPTS, SamplingParams(8))
    )
    with pytest.raises(UserError, match=r"config\.json is missing"):
        load_model(tmp_path / "nothing")
