"""The variants of the objective: for each name that a recipe may give, one row that every backend reads.

A new name in `ObjectiveName` needs a row in `objective_of`: pyright refuses one without. Loads no torch: the tensors
are in `rl.objective`, which takes these settings as arguments.
"""

from dataclasses import dataclass
from typing import Any, assert_never

from rl.config import ObjectiveName


@dataclass(frozen=True)
class Objective:
    """The settings of a variant.

    `is_scaled`: advantages are divided by the standard deviation of their group. `has_fixed_divisor`: the sum of the
    loss over the tokens of a minibatch is divided by responses × longest cap, instead of by the number of tokens.
    """

    is_scaled: bool
    has_fixed_divisor: bool

    def divisor(self, tokens: float, responses: int, longest_cap: int) -> float:
        """The divisor of the sum over the tokens of a minibatch."""
        return float(responses * longest_cap) if self.has_fixed_divisor else tokens

    def verl_aggregation(self, longest_cap: int) -> dict[str, Any]:
        """The same for verl: entries of its actor's configuration."""
        if self.has_fixed_divisor:
            return {"loss_agg_mode": "seq-mean-token-sum-norm", "loss_scale_factor": longest_cap}
        return {"loss_agg_mode": "token-mean"}


def objective_of(name: ObjectiveName | None) -> Objective:
    """The row of the objective that a recipe names; None is GRPO."""
    match name:
        case None:
            return Objective(is_scaled=True, has_fixed_divisor=False)
        case "dr_grpo":
            return Objective(is_scaled=False, has_fixed_divisor=True)
        case _:
            assert_never(name)
