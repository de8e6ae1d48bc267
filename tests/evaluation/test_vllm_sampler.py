"""vLLM against transformers on one small model in float32: the same tokens, texts and ends; draws that streams name."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.engine
ROOT = Path(__file__).parents[2]

CHECK = """
import sys
from pathlib import Path

from benchmarks.evaluation import toy
from evaluation.samplers.open_sampler import open_sampler
from evaluation.samplers.sampling import SamplingParams
from manifests.errors import UserError

folder = Path(sys.argv[1])
toy(folder, 64, 2, 160)
prompts = ["2+2=", "What is 7 times 8?", "a", "Solve x^2 = 4 for x.", "b" * 40, "Why", "1, 1, 2, 3, 5, 8, 13,"] * 3
streams = range(len(prompts))
ours, theirs = (open_sampler(name, folder, None) for name in ("transformers", "vllm"))
greedy = SamplingParams(60)
first = dict(ours.sample(prompts, greedy, streams))
letter = next(letter for (one,) in first.values() for letter in one.text[4:-4] if letter.isascii())
shots = ["Question: 1 + 1\\nAnswer: 2\\n" * 4 + prompt for prompt in prompts]
for asked, params in ((prompts, greedy), (prompts, SamplingParams(60, stop=(letter,))), (shots, greedy)):
    one, other = (dict(sampler.sample(asked, params, streams)) for sampler in (ours, theirs))
    for place in streams:
        a, b = one[place][0], other[place][0]
        assert (a.token_ids, a.text, a.truncated) == (b.token_ids, b.text, b.truncated), (asked[place], a, b)
drawn = SamplingParams(20, temperature=1.0, n=3, seed=4)
whole = dict(theirs.sample(prompts[:4], drawn, range(4)))
part = dict(theirs.sample(prompts[2:4], drawn, [2, 3]))
assert len({tuple(one.token_ids) for group in whole.values() for one in group}) == 12
assert [one.token_ids for one in part[0]] == [one.token_ids for one in whole[2]]
assert ours.refusals(["a", "x" * 2048]) == theirs.refusals(["a", "x" * 2048]) != []
print("agreed on", sum(group[0].tokens for group in first.values()), "tokens")
"""


def test_greedy_tokens_agree_and_draws_are_named_by_their_stream(tmp_path):
    """In a process of its own: an engine takes threads, memory and environment variables for the whole process."""
    pytest.importorskip("vllm")
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", CHECK, str(tmp_path)]
    made = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path, timeout=500)
    assert made.returncode == 0, made.stderr[-3000:]
    assert "agreed on" in made.stdout
