"""Recipe of reinforcement learning with GRPO. Loads neither torch nor datatrove."""

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from evaluation.config import EvalRecipe, LossRecipe, Stop
from evaluation.protocols.templates import TemplateName
from manifests.recipe import Local, Recipe
from training.config import Count, OptimizerRecipe, StageName, TrackerName

Share = Annotated[float, Field(ge=0, le=1)]
Signal = Literal[
    "truncated_share",
    "repetition_share",
    "length_ratio",
    "boxed_share",
    "entropy",
    "zero_spread_share",
    "kl_to_start",
    "reward",
]
"""Columns of `steps` that an alarm may watch."""
Action = Literal["stop", "fall_back", "warn"]
"""What an alarm does, the gravest first."""
HalfPrecision = Literal["bfloat16"]
RewardName = Literal["binary", "signed", "format", "repetition", "strict"]
"""Each has a row in `rl.rewards`."""
Backend = Literal["torch", "verl"]
"""What reinforces."""
ObjectiveName = Literal["dr_grpo"]
"""Each has a row in `rl.variants`."""


STOP = ("\nQuestion:", "\nAnswer:\n", "\nUser:", "\nAssistant:")
"""The labels that the templates of `evaluation.protocols.templates` put at the start of a line, "Answer:" on a line of
its own: a response that ends in "Final Answer: \\boxed{5}" or in "Answer: 5" is not cut there. OctoThinker's released
script stops at the labels anywhere."""
BOX = r"\boxed{}"
"""An answer counts only in this box, so no part of it may end a response."""


class GrowthRecipe(Recipe):
    """Raises the cap on responses once the model ends nearly all of them before it."""

    caps: tuple[Count, ...] = Field(min_length=1)
    """The caps that follow `max_new_tokens`, ascending. The declared cap of a step is used if it is longer."""
    truncated_below: Share
    """Share of truncated responses below which a step counts towards the next cap."""
    steps: Count
    """Number of such steps in a row, all with the current cap, that raise it."""

    @model_validator(mode="after")
    def _ascends(self) -> "GrowthRecipe":
        if list(self.caps) != sorted(set(self.caps)):
            raise ValueError("`caps` must ascend")
        return self


class AlarmRecipe(Recipe):
    """A limit on one column of `steps`, and what happens when a run exceeds it."""

    signal: Signal
    """truncated_share; repetition_share (a passage five times in a row); length_ratio (mean length to cap);
    boxed_share; entropy (nats per token); zero_spread_share (groups whose rewards are all equal); kl_to_start;
    reward."""
    above: float | None = None
    """Beyond the limit is above it …"""
    below: float | None = None
    """… or below it."""
    steps: Count = 3
    """Steps in a row that must exceed the limit."""
    action: Action = "warn"
    """`warn` prints a warning; `stop` ends the run with a checkpoint; `fall_back` restores the weights and the
    optimizer of the last checkpoint before the first of those steps and continues with new prompts."""

    @model_validator(mode="after")
    def _one_limit(self) -> "AlarmRecipe":
        if (self.above is None) == (self.below is None):
            raise ValueError("give `above` or `below`")
        is_share = self.signal.endswith("_share") or self.signal == "length_ratio"
        if (is_share and self.above is not None and self.above >= 1) or (
            self.signal != "reward" and self.below is not None and self.below <= 0
        ):
            side = f"above {self.above:g}" if self.above is not None else f"below {self.below:g}"
            raise ValueError(f"`{self.signal}` is never {side}")
        return self


class WatchRecipe(Recipe):
    """The collapse watch: alarms that are checked after every step."""

    alarms: tuple[AlarmRecipe, ...] = Field(min_length=1)
    """Every alarm that is met acts; stopping takes precedence over falling back."""
    good_every: Count = 20
    """Steps between the checkpoints to which a run may fall back; before the first one, it falls back to its start."""
    fall_backs: Count = 3
    """Number of fall-backs after which the next one stops the run."""


class RLValidationRecipe(LossRecipe):
    """Evaluation during training: scores on benchmarks, as `octo eval` gives them, and held-out loss, as rows of
    `losses_held_out`. Each evaluation on benchmarks is a run of its own, with the scores in both runs."""

    every: Count
    """Steps between evaluations. The start (step 0) and the last step are evaluated too, and held-out loss is measured
    at every checkpoint."""
    evaluation: EvalRecipe | None = None
    """How, and on which benchmarks; by default on none."""
    loss: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    """Manifests to measure the loss on, as `octo eval --loss` takes them; `hold_out` is what the prompts, or
    else the mixture of a run that it started from, hold out."""

    @model_validator(mode="after")
    def _on_something(self) -> "RLValidationRecipe":
        if not self.evaluation:
            if not self.loss:
                raise ValueError("give `evaluation`, `loss`, or both")
            return self
        if not self.evaluation.benchmarks:
            raise ValueError("`evaluation.benchmarks` names none")
        if self.evaluation.endpoint:
            raise ValueError("`evaluation.endpoint` names another model than the one that is trained")
        if said := self.evaluation.contradiction():
            raise ValueError(f"`evaluation`: {said[0]}")
        return self


def check_stop(stop: tuple[str, ...]) -> None:
    """ValueError if one of the strings would end every response before it can give its answer."""
    if cut := next((one for one in stop if one in BOX), None):
        raise ValueError(f"`stop` {cut!r} stands in {BOX}, which no response could then finish")


class RLRecipe(Recipe):
    """Group-relative policy optimisation on one prompts manifest, from the last checkpoint of a run."""

    stage: StageName = "rl"
    """Name of the stage in the ledgers."""
    template: TemplateName = "cpt_base"
    """Prompt template: cpt_base, ua_base, orz_base, icl_base or base_0221 (see evaluation/protocols/templates.py)."""
    stop: tuple[Stop, ...] = STOP
    """Strings that end a response; by default the templates' labels at the start of a line."""
    reward: RewardName = "binary"
    """Rewards of a right and a wrong answer: 1 and 0 (binary), or 1 and -1 (signed); format, repetition and strict also
    penalise missing or several boxes and repetition, see rl/rewards.py. An answer counts only in `\\boxed{}`."""
    overlong_penalty: Count | None = None
    """DAPO: over this many tokens before the cap the reward falls linearly by up to 1; 4096 with a cap of 20480 in its
    paper. At most the smallest cap of the run."""
    steps: Count
    """Steps. The prompts are read in the manifest's order, from the start again when they run out."""
    prompts_per_step: Count
    """Prompts of one step."""
    max_prompt_tokens: Count | None = None
    """Prompts with more tokens, template included, are left out and listed in the run. By default none is left out, and
    a prompt that leaves no room for its response is refused."""
    group_size: Annotated[int, Field(ge=2)]
    """Responses per prompt; the advantage of a response is relative to the others of its group."""
    minibatch_prompts: Count | None = None
    """Prompts of one update; by default all of the step. With fewer there are several clipped updates per step."""
    micro_batch_responses: Count = 64
    """Responses of one forward pass. Gradients accumulate over the whole minibatch."""
    micro_batch_tokens: Annotated[Count | None, Local] = None
    """Tokens of one forward pass, padding included, instead of a number of responses: the responses of a minibatch are
    grouped by length. Another number rounds sums differently."""
    precision: HalfPrecision | None = None
    """Precision of forward passes and of sampling; by default float32. Weights and optimizer are always float32."""
    temperature: Annotated[float, Field(gt=0)] = 1.0
    """Temperature of the policy that is sampled and trained."""
    max_new_tokens: dict[int, Count]
    """Cap on the tokens of a response, by the step from which it applies, as {0: 2048, 100: 4096}; the first applies
    from the start."""
    growth: GrowthRecipe | None = None
    """Raises the cap by a trigger, in addition to the declared schedule."""
    optimizer: OptimizerRecipe
    """The optimizer; its learning rate is constant. Its state is fresh."""
    ratio_clip: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """How far the probability ratio may differ from 1 before a token's gradient is clipped."""
    objective: ObjectiveName | None = None
    """`dr_grpo`: advantages are not divided by the deviation of the group, and the loss is divided by the number of
    responses times the longest cap of the run instead of by the sampled tokens. By default GRPO's advantages with the
    loss averaged over all sampled tokens, and no KL term: as in OctoThinker's script and DAPO. Published GRPO averages
    over each response first and has a KL term."""
    clip_higher: Annotated[float, Field(gt=0)] | None = None
    """DAPO: how far the ratio may rise above 1, instead of `ratio_clip`; 0.28 in its paper."""
    dynamic_sampling: Count | None = None
    """DAPO: groups whose rewards are all equal are not used and further prompts are read instead, in up to this many
    rounds of sampling per step; 10 in its paper."""
    watch: WatchRecipe | None = None
    """The collapse watch."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of the sampling; each response of the run has its own random stream."""
    validation: Annotated[RLValidationRecipe | None, Local] = None
    """Evaluation during training. It does not change what is learned."""
    rollout_texts: Annotated[bool, Local] = True
    """Whether the ledger `rollouts` holds prompts and responses; without, it is some 50 bytes a row."""
    checkpoint_every: Annotated[Count, Local] = 20
    """Steps between checkpoints. The last step always writes one."""
    keep: Annotated[int, Field(ge=0), Local] = 2
    """Checkpoints to keep; 0 keeps all."""
    grading_seconds: Annotated[float, Field(gt=0), Local] = 5.0
    """Processor time limit for grading one response; a response that exceeds it counts as wrong."""
    grading_workers: Annotated[int, Field(gt=0), Local] = 2
    """Processes that grade."""
    track: Annotated[tuple[TrackerName, ...] | None, Local] = None
    """Trackers that receive the rows of `steps`; by default TensorBoard files in the folder of the run, if it is
    installed."""
    gpus: Annotated[Count, Local] = 1
    """GPUs of this machine over which verl shards the model; without a GPU, the number of processes."""
    patience_seconds: Annotated[float, Field(gt=0), Local] = 1800.0
    """Seconds without activity after which verl is stopped; when it is launched again, the run resumes from its
    checkpoint."""
    threads: Annotated[int | None, Field(gt=0), Local] = None
    """Threads of a CPU run. Another number rounds sums differently, so bit-exact resume needs the same number."""

    @field_validator("max_new_tokens", mode="before")
    @classmethod
    def _one_cap(cls, value: object) -> object:
        """`max_new_tokens: 512` applies from step 1, and so does a value for step 0."""
        if not isinstance(value, dict):
            return {1: value}
        for start, cap in value.items():
            if cap is None and str(start).replace(":", "", 1).isdecimal():
                raise ValueError(f"write {{{str(start).replace(':', ': ')}}}, with a space after the colon, and a cap")
        return value if 1 in value else {1 if start in (0, "0") else start: cap for start, cap in value.items()}

    @model_validator(mode="after")
    def _caps_from_the_start(self) -> "RLRecipe":
        if min(self.max_new_tokens, default=0) != 1:
            raise ValueError("`max_new_tokens` needs a cap for step 1 and none before it")
        if self.minibatch_prompts and self.prompts_per_step % self.minibatch_prompts:
            raise ValueError("`prompts_per_step` is not a multiple of `minibatch_prompts`")
        return self

    @model_validator(mode="after")
    def _no_field_undoes_another(self) -> "RLRecipe":
        least, step = min((cap, step) for step, cap in self.max_new_tokens.items() if step <= self.steps)
        if self.overlong_penalty and self.overlong_penalty > least:
            raise ValueError(
                f"`overlong_penalty` {self.overlong_penalty} is more than `max_new_tokens` {least} of step {step}: "
                "every response there would be penalised from its first token"
            )
        if self.growth and self.growth.caps[-1] <= least:
            raise ValueError(f"`growth.caps` end at {self.growth.caps[-1]}, which `max_new_tokens` allows at any step")
        check_stop(self.stop)
        return self

    def cap(self, step: int) -> int:
        """The declared cap on the tokens of a response in `step` (from 1); `rl.watch.cap_of` also applies the
        trigger."""
        return self.max_new_tokens[max(start for start in self.max_new_tokens if start <= step)]

    @property
    def longest_cap(self) -> int:
        """The longest response that any step may allow; a cap from a later step than the last is none of the run's."""
        declared = [cap for step, cap in self.max_new_tokens.items() if step <= self.steps]
        return max(*declared, *(self.growth.caps if self.growth else (0,)))
