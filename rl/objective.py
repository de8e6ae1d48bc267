"""The GRPO objective as pure functions of tensors.

Group-relative policy optimisation (Shao et al. 2024, DeepSeekMath): the value of a state is the mean reward of a group
of responses to the same prompt. No KL term: its coefficient is 0 in OctoThinker's released script.

Shapes: P prompts, G responses of a group, N = P·G responses, T tokens of the longest response; masks are 1 where a
token was sampled. Leaves out entropy bonuses and dual clipping.
"""

import torch
from torch import Tensor

EPSILON = 1e-6
"""Added to the standard deviation, as in verl's GRPO."""


def advantages(rewards_PG: Tensor, ruled_PG: Tensor) -> Tensor:
    """(r - mean) / (std + ε) within each group, [P, G]; std is the sample's, with G - 1 (as in verl).

    Only responses with a ruling count (`ruled_PG`, bool): where the grader failed the advantage is 0 and nothing enters
    mean or std. So it is where fewer than two were ruled on, or all rewards are equal.
    """
    n_P1 = ruled_PG.sum(1, keepdim=True)
    mean_P1 = rewards_PG.where(ruled_PG, 0).sum(1, keepdim=True) / n_P1.clamp(min=1)
    away_PG = (rewards_PG - mean_P1).where(ruled_PG, 0)
    std_P1 = (away_PG.square().sum(1, keepdim=True) / (n_P1 - 1).clamp(min=1)).sqrt()
    return (away_PG / (std_P1 + EPSILON)).where(n_P1 > 1, 0)


def policy_loss(
    logprobs_NT: Tensor, old_logprobs_NT: Tensor, advantages_N: Tensor, mask_NT: Tensor, clip: float
) -> Tensor:
    """Sum over sampled tokens of the clipped surrogate, negated (Schulman et al. 2017, equation 7): a scalar.

    The caller divides by the tokens of the whole minibatch, which makes it the token mean however it was cut.
    """
    ratio_NT = torch.exp(logprobs_NT - old_logprobs_NT)
    advantages_N1 = advantages_N[:, None]
    surrogate_NT = torch.minimum(ratio_NT * advantages_N1, ratio_NT.clamp(1 - clip, 1 + clip) * advantages_N1)
    return -(surrogate_NT * mask_NT).sum()


def token_logprobs(logits_NTV: Tensor, tokens_NT: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """Log-probability of each token under the tempered policy and that policy's entropy, both [N, T], in nats."""
    logprobs_NTV = torch.log_softmax(logits_NTV.float() / temperature, -1)
    entropy_NT = -(logprobs_NTV.exp() * logprobs_NTV).sum(-1)
    return logprobs_NTV.gather(-1, tokens_NT[..., None]).squeeze(-1), entropy_NT
