"""The objective by its properties and by hand-computed values."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rl import objective
from rl.objective import advantages, divergence, policy_loss, token_logprobs

REWARDS = st.lists(st.sampled_from([-1.0, 0.0, 0.5, 1.0]), min_size=2, max_size=16)


def all_ruled(rewards: torch.Tensor) -> torch.Tensor:
    return torch.ones_like(rewards, dtype=torch.bool)


@pytest.mark.parametrize(
    ("rewards", "ruled", "expected"),
    [
        ([1, 0, 0, 0], [1, 1, 1, 1], [1.5, -0.5, -0.5, -0.5]),  # mean 1/4, deviation √(3/4 / 3) = 1/2
        ([1, -1], [1, 1], [math.sqrt(0.5), -math.sqrt(0.5)]),
        ([1, 0, 0, 1], [1, 1, 1, 0], [2 / math.sqrt(3), -1 / math.sqrt(3), -1 / math.sqrt(3), 0]),
        ([1, 0, 9], [1, 1, 0], [math.sqrt(0.5), -math.sqrt(0.5), 0]),
        ([1, 1, 0], [1, 1, 0], [0, 0, 0]),
        ([1, 0], [0, 0], [0, 0]),
    ],
)
def test_advantages(rewards, ruled, expected):
    found = advantages(torch.tensor([rewards], dtype=torch.float32), torch.tensor([ruled], dtype=torch.bool))
    assert found[0].tolist() == pytest.approx(expected, rel=1e-5)


@settings(deadline=None)  # torch's first call loads libraries
@given(REWARDS)
def test_advantages_have_mean_zero_and_sample_deviation_one(group):
    rewards = torch.tensor([group])
    found = advantages(rewards, all_ruled(rewards))
    assert found.sum().item() == pytest.approx(0, abs=1e-4)
    expected = 0 if len(set(group)) == 1 else 1
    assert found.std().item() == pytest.approx(expected, abs=1e-4)


@settings(deadline=None)  # torch's first call loads libraries
@given(REWARDS, st.floats(0.1, 10), st.floats(-5, 5))
def test_scale_and_offset_of_rewards_do_not_matter(group, scale, offset):
    rewards = torch.tensor([group], dtype=torch.float64)
    plain, moved = (advantages(values, all_ruled(values)) for values in (rewards, scale * rewards + offset))
    torch.testing.assert_close(plain, moved, atol=1e-3, rtol=1e-3)


@settings(deadline=None)
@given(st.floats(-3, 3, width=32), st.integers(2, 64), st.integers(0, 63), st.booleans())
def test_equal_rewards_teach_nothing_at_all(value, size, unruled, is_scaled):
    """Whatever they are: with a mean that is rounded advantages of 0.19 came of eight times -1.605."""
    rewards = torch.full((1, size), value)
    ruled = all_ruled(rewards)
    ruled[0, unruled % size] = False
    assert advantages(rewards, ruled, is_scaled).tolist() == [[0.0] * size]
    assert advantages(rewards, all_ruled(rewards), is_scaled).tolist() == [[0.0] * size]


def test_groups_do_not_touch_each_other():
    rewards = torch.tensor([[1.0, 0, 0, 1], [1, 1, 1, 1]])
    found = advantages(rewards, all_ruled(rewards))
    assert found[0].tolist() == pytest.approx([0.866, -0.866, -0.866, 0.866], abs=1e-3)
    assert found[1].tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize("stand_in", [0.0, 1.0, float("nan")])
def test_a_response_without_a_ruling_counts_for_nothing(stand_in):
    rewards, ruled = torch.tensor([[1.0, 0, stand_in, 1]]), torch.tensor([[True, True, False, True]])
    found = advantages(rewards, ruled)[0]
    assert found[2] == 0
    torch.testing.assert_close(found[[0, 1, 3]], advantages(rewards[:, [0, 1, 3]], ruled[:, [0, 1, 3]])[0])


def test_a_group_with_one_ruling_teaches_nothing():
    assert advantages(torch.tensor([[1.0, 0.0]]), torch.tensor([[True, False]])).tolist() == [[0, 0]]


def test_at_the_sampling_policy_the_gradient_is_that_of_reinforce():
    logprobs = torch.randn(3, 5, requires_grad=True)
    weights, mask = torch.tensor([1.0, -2.0, 0.5]), torch.ones(3, 5)
    mask[1, 3:] = 0
    policy_loss(logprobs, logprobs.detach(), weights, mask, clip=0.2)[0].backward()
    torch.testing.assert_close(logprobs.grad, -(weights[:, None] * mask))


@pytest.mark.parametrize(
    ("ratio", "advantage", "surrogate", "learns"),
    [
        (1.1, 2.0, 2.2, True),
        (1.5, 1.0, 1.2, False),
        (1.5, -1.0, -1.5, True),
        (0.5, 1.0, 0.5, True),
        (0.5, -1.0, -0.8, False),
        (1.0, 0.0, 0.0, False),
    ],
)
def test_the_clip_stops_only_what_runs_away(ratio, advantage, surrogate, learns):
    logprob = torch.tensor([[ratio]]).log().requires_grad_()
    loss, cut_off = policy_loss(logprob, torch.zeros(1, 1), torch.tensor([advantage]), torch.ones(1, 1), clip=0.2)
    loss.backward()
    assert cut_off.item() == (advantage != 0 and not learns)
    assert loss.item() == pytest.approx(-surrogate)
    assert logprob.grad.item() == pytest.approx(-surrogate if learns else 0)  # d ratio / d logprob = ratio


@pytest.mark.parametrize(("ratio", "surrogate"), [(1.25, 1.25), (1.5, 1.28), (0.5, 0.5)])
def test_the_clip_may_be_higher_above(ratio, surrogate):
    logprob = torch.tensor([[ratio]]).log()
    loss, _ = policy_loss(logprob, torch.zeros(1, 1), torch.ones(1), torch.ones(1, 1), clip=0.2, clip_higher=0.28)
    assert loss.item() == pytest.approx(-surrogate)
    down, _ = policy_loss(logprob, torch.zeros(1, 1), -torch.ones(1), torch.ones(1, 1), clip=0.2, clip_higher=0.28)
    assert down.item() == pytest.approx(max(ratio, 0.8))


def test_advantages_without_the_deviation_are_what_a_reward_is_above_the_mean():
    rewards, ruled = torch.tensor([[1.0, 0, 0, 9], [1, 1, 1, 1]]), torch.ones(2, 4, dtype=torch.bool)
    ruled[0, 3] = False
    found = advantages(rewards, ruled, scaled=False)
    assert found[0].tolist() == pytest.approx([2 / 3, -1 / 3, -1 / 3, 0])
    assert found[1].tolist() == [0, 0, 0, 0]


def test_the_estimated_divergence_is_the_divergence_on_average():
    """Over every token of a small vocabulary, weighted by its probability, the estimate is exact."""
    policy, start = (torch.randn(50).log_softmax(-1) for _ in range(2))
    found = divergence(policy[None], start[None])[0]
    assert (found >= 0).all()
    exact = (policy.exp() * (policy - start)).sum()
    torch.testing.assert_close((policy.exp() * found).sum(), exact)


def test_log_probabilities_are_those_of_the_tempered_policy():
    logits, tokens = torch.randn(2, 3, 7), torch.randint(0, 7, (2, 3))
    found, entropy = token_logprobs(logits, tokens, temperature=0.5)
    policy = torch.distributions.Categorical(logits=logits / 0.5)
    torch.testing.assert_close(found, policy.log_prob(tokens))
    torch.testing.assert_close(entropy, policy.entropy())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_log_probabilities_in_parts_are_those_of_the_whole(monkeypatch, dtype):
    """Bit for bit, and so are the gradients."""
    logits, tokens = torch.randn(3, 5, 7, dtype=dtype), torch.randint(0, 7, (3, 5))
    found = []
    for at_once in (1 << 28, 4 * 7):
        monkeypatch.setattr(objective, "MAX_LOGITS", at_once)
        mine = logits.clone().requires_grad_()
        logprobs, entropy = token_logprobs(mine, tokens, temperature=0.5)
        (logprobs * torch.arange(15).view(3, 5)).sum().backward()
        assert not entropy.requires_grad
        found.append((logprobs, entropy, mine.grad))
    for whole, cut in zip(*found, strict=True):
        assert torch.equal(whole, cut)
