"""The GRPO objective as pure functions of tensors.

Group-relative policy optimisation (Shao et al. 2024, DeepSeekMath): the value of a state is the mean reward of a group
of responses to the same prompt. Variants: Dr.GRPO (Liu et al. 2025, arXiv 2503.20783) omits the division by the
deviation; DAPO (Yu et al. 2025, arXiv 2503.14476) clips higher than lower. No KL term: its coefficient is 0 in
OctoThinker's released script; `divergence` measures it.

Shapes: P prompts, G responses of a group, N = P·G responses, T tokens of the longest response; masks are 1 where a
token was sampled. Leaves out entropy bonuses and dual clipping.
"""

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

EPSILON = 1e-6
"""Added to the standard deviation, as in verl's GRPO."""
MAX_LOGITS = 1 << 28
"""Logits converted to float32 at a time, 1 GiB; 16,384 tokens with a vocabulary of 128,256 have eight times as many,
and some four copies of them are needed at once."""


def advantages(rewards_PG: Tensor, ruled_PG: Tensor, scaled: bool = True) -> Tensor:
    """(r - mean) / (std + ε) within each group, [P, G]; std is the sample's, with G - 1 (as in verl). Not `scaled`:
    r - mean (Dr.GRPO).

    Only responses with a ruling count (`ruled_PG`, bool): where the grader failed, the advantage is 0 and the reward
    does not enter mean or std. The advantage is also exactly 0 if fewer than two have a ruling or all rewards are
    equal.
    """
    n_P1 = ruled_PG.sum(1, keepdim=True)
    # away from the first of the group, so that equal rewards give zeros whatever they are: a mean of many is rounded
    first_P1 = rewards_PG.gather(1, ruled_PG.int().argmax(1, keepdim=True))
    away_PG = (rewards_PG - first_P1).where(ruled_PG, 0)
    away_PG = (away_PG - away_PG.sum(1, keepdim=True) / n_P1.clamp(min=1)).where(ruled_PG, 0)
    if not scaled:
        return away_PG.where(n_P1 > 1, 0)
    std_P1 = (away_PG.square().sum(1, keepdim=True) / (n_P1 - 1).clamp(min=1)).sqrt()
    return (away_PG / (std_P1 + EPSILON)).where(n_P1 > 1, 0)


def policy_loss(
    logprobs_NT: Tensor,
    old_logprobs_NT: Tensor,
    advantages_N: Tensor,
    mask_NT: Tensor,
    clip: float,
    clip_higher: float | None = None,
) -> tuple[Tensor, Tensor]:
    """Sum over sampled tokens of the clipped surrogate, negated (Schulman et al. 2017, equation 7), and how many tokens
    were clipped: two scalars. The ratio is held within [1 - clip, 1 + clip_higher]; both are `clip` by default.

    The caller divides by the tokens of the whole minibatch, which gives the mean over tokens for any number of forward
    passes.
    """
    ratio_NT = torch.exp(logprobs_NT - old_logprobs_NT)
    advantages_N1 = advantages_N[:, None]
    plain_NT = ratio_NT * advantages_N1
    clipped_NT = ratio_NT.clamp(1 - clip, 1 + (clip if clip_higher is None else clip_higher)) * advantages_N1
    cut_off = ((clipped_NT < plain_NT) * mask_NT).sum()
    return -(torch.minimum(plain_NT, clipped_NT) * mask_NT).sum(), cut_off


def divergence(logprobs_NT: Tensor, start_logprobs_NT: Tensor) -> Tensor:
    """KL divergence of the policy from its start, estimated at each sampled token, [N, T], in nats, never below 0: q/p
    - 1 - log q/p, unbiased for tokens drawn from p (Schulman 2020, "Approximating KL divergence", k3)."""
    log_ratio_NT = start_logprobs_NT - logprobs_NT
    return log_ratio_NT.exp() - 1 - log_ratio_NT


def token_logprobs(logits_NTV: Tensor, tokens_NT: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """Log-probability of each token under the tempered policy and that policy's entropy, both [N, T], in nats. Entropy
    carries no gradient. Many logits are processed in parts, which the backward pass recomputes."""
    size = max(1, MAX_LOGITS // logits_NTV.shape[-1])
    if tokens_NT.numel() <= size:
        return _token_logprobs(logits_NTV, tokens_NT, temperature)
    parts = zip(logits_NTV.flatten(0, 1).split(size), tokens_NT.flatten().split(size), strict=True)
    found = [checkpoint(_token_logprobs, *part, temperature, use_reentrant=False) for part in parts]
    logprobs, entropy = (torch.cat(column).view(tokens_NT.shape) for column in zip(*found, strict=True))
    return logprobs, entropy


def _token_logprobs(logits: Tensor, tokens: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """`token_logprobs` of tokens in any shape, logits with one dimension more."""
    logprobs = torch.log_softmax(logits.float() / temperature, -1)
    with torch.no_grad():
        entropy = -(logprobs.exp() * logprobs).sum(-1)
    return logprobs.gather(-1, tokens[..., None]).squeeze(-1), entropy
