"""Recipe of reinforcement learning with GRPO. Loads neither torch nor datatrove."""

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from evaluation.config import EvalRecipe, Stop
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
ObjectiveName = Literal["dr_grpo"]
"""Each has a row in `rl.variants`."""


STOP = ("\nQuestion:", "\nAnswer:\n", "\nUser:", "\nAssistant:")
"""The labels that the templates of `evaluation.protocols.templates` put at the start of a line, "Answer:" on one of its
own: a response may end in "Final Answer: \\boxed{5}" or in "Answer: 5" and is not cut there. OctoThinker's released
script has the labels wherever they stand."""
BOX = r"\boxed{}"
"""An answer counts in it alone, so that nothing in it may end a response."""


class GrowthRecipe(Recipe):
    """Longer responses once the model ends nearly all of them by itself."""

    caps: tuple[Count, ...] = Field(min_length=1)
    """The lengths that follow `max_new_tokens`, ascending. The declared cap of a step holds where it is longer."""
    truncated_below: Share
    """Share of truncated responses below which a step speaks for the next cap."""
    steps: Count
    """Steps in a row, all under the cap that holds, that must do so."""

    @model_validator(mode="after")
    def _ascends(self) -> "GrowthRecipe":
        if list(self.caps) != sorted(set(self.caps)):
            raise ValueError("`caps` must ascend")
        return self


class AlarmRecipe(Recipe):
    """A limit on one column of `steps`, and what happens when a run is beyond it."""

    signal: Signal
    """truncated_share; repetition_share (a passage five times in a row); length_ratio (mean length to cap);
    boxed_share; entropy (nats per token); zero_spread_share (groups that teach nothing); kl_to_start; reward."""
    above: float | None = None
    """Beyond the limit is above it …"""
    below: float | None = None
    """… or below it."""
    steps: Count = 3
    """Steps in a row that must be beyond the limit."""
    action: Action = "warn"
    """`warn` says so; `stop` ends the run with a checkpoint; `fall_back` puts the weights and the optimizer back to
    the last checkpoint before the first of those steps and goes on with new prompts."""

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
    """The collapse watch: what is looked at after every step."""

    alarms: tuple[AlarmRecipe, ...] = Field(min_length=1)
    """Every one that is met acts; stopping goes before falling back."""
    good_every: Count = 20
    """Steps between the checkpoints that a run may fall back to; before the first, to where it started."""
    fall_backs: Count = 3
    """Falls back after which the next one is a stop."""


class ValidationRecipe(Recipe):
    """Evaluation on the way: the same floor as `octo eval`, a run of its own for each step, the scores in both."""

    every: Count
    """Steps between evaluations. The start (step 0) and the last step are evaluated too."""
    evaluation: EvalRecipe
    """How, and on which benchmarks."""

    @model_validator(mode="after")
    def _on_something(self) -> "ValidationRecipe":
        if not self.evaluation.benchmarks:
            raise ValueError("`evaluation.benchmarks` names none")
        if self.evaluation.endpoint:
            raise ValueError("`evaluation.endpoint` is another model than the one that learns")
        if said := self.evaluation.contradiction():
            raise ValueError(f"`evaluation`: {said[0]}")
        return self


def check_stop(stop: tuple[str, ...]) -> None:
    """ValueError where one of the strings would end every response that is about to give its answer."""
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
    """What a right and a wrong answer earn: 1 and 0 (binary), or 1 and -1 (signed); format, repetition and strict
    punish missing or several boxes and repetition, see rl/rewards.py. An answer counts only in `\\boxed{}`."""
    overlong_penalty: Count | None = None
    """DAPO: the last so many tokens before the cap cost up to 1 of the reward, linearly; 4096 in its paper, of a cap of
    20480. No more than the smallest cap of the run."""
    steps: Count
    """Steps. The prompts are read in the manifest's order, from the start again when they run out."""
    prompts_per_step: Count
    """Prompts of one step."""
    max_prompt_tokens: Count | None = None
    """Prompts with more tokens, template included, are left out and named in the run. By default none is, and one that
    leaves no room for its response is refused."""
    group_size: Annotated[int, Field(ge=2)]
    """Responses per prompt; a response is judged against the others of its group."""
    minibatch_prompts: Count | None = None
    """Prompts of one update; by default all of the step. Fewer give several updates per step, clipped."""
    micro_batch_responses: Count = 64
    """Responses of one forward pass. Gradients add up to those of the whole minibatch."""
    micro_batch_tokens: Annotated[Count | None, Local] = None
    """Tokens of one forward pass, padding included, in place of a number of responses: those of a minibatch are
    bucketed by length. Sums are rounded differently under another number."""
    precision: HalfPrecision | None = None
    """Arithmetic of forward passes and of sampling; by default float32. Weights and optimizer are float32 always."""
    temperature: Annotated[float, Field(gt=0)] = 1.0
    """Temperature of the policy that is sampled and trained."""
    max_new_tokens: dict[int, Count]
    """Longest response by the step from which it holds, as {0: 2048, 100: 4096}; the first is for the start."""
    growth: GrowthRecipe | None = None
    """Longer responses by trigger, beside the declared schedule."""
    optimizer: OptimizerRecipe
    """The optimizer; its learning rate is constant. Its state is fresh."""
    ratio_clip: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """How far the probability ratio may leave 1 before a token's gradient is cut off."""
    objective: ObjectiveName | None = None
    """`dr_grpo`: advantages are not divided by the deviation of the group, and the loss is divided by the number of
    responses and the longest cap of the run in place of the tokens sampled. By default GRPO's advantages with the loss
    averaged over all sampled tokens, and no KL term: as in OctoThinker's script and DAPO, whereas published GRPO
    averages over each response first and has a KL term."""
    clip_higher: Annotated[float, Field(gt=0)] | None = None
    """DAPO: how far the ratio may rise above 1, in place of `ratio_clip`; 0.28 in its paper."""
    dynamic_sampling: Count | None = None
    """DAPO: groups whose rewards are all equal are set aside and further prompts are read in their place, in up to so
    many rounds of sampling per step; 10 in its paper."""
    watch: WatchRecipe | None = None
    """The collapse watch."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of the sampling; each response of the run has a stream of its own."""
    validation: Annotated[ValidationRecipe | None, Local] = None
    """Evaluation on the way. It changes nothing of what is learned."""
    rollout_texts: Annotated[bool, Local] = True
    """Whether the ledger `rollouts` holds prompts and responses; without, it is some 50 bytes a row."""
    checkpoint_every: Annotated[Count, Local] = 20
    """Steps between checkpoints. The last step always has one."""
    keep: Annotated[int, Field(ge=0), Local] = 2
    """Checkpoints to keep; 0 keeps all."""
    grading_seconds: Annotated[float, Field(gt=0), Local] = 5.0
    """Processor time after which grading one response is given up and the response counts as wrong."""
    grading_workers: Annotated[int, Field(gt=0), Local] = 2
    """Processes that grade."""
    track: Annotated[tuple[TrackerName, ...] | None, Local] = None
    """Where to show the rows of `steps` besides the ledgers; by default TensorBoard files in the run, where it is
    installed."""
    gpus: Annotated[Count, Local] = 1
    """GPUs of this machine that verl spreads the model over; without a GPU as many processes do."""
    patience_seconds: Annotated[float, Field(gt=0), Local] = 1800.0
    """Time without a sign of life after which verl is ended; launched again, the run goes on from its checkpoint."""
    threads: Annotated[int | None, Field(gt=0), Local] = None
    """Threads of a CPU run. Sums are rounded differently under another number, so bit-exact resume needs the same."""

    @field_validator("max_new_tokens", mode="before")
    @classmethod
    def _one_cap(cls, value: object) -> object:
        """`max_new_tokens: 512` holds from step 1, and what is said of step 0 does."""
        if not isinstance(value, dict):
            return {1: value}
        for start, cap in value.items():
            if cap is None and str(start).replace(":", "", 1).isdecimal():
                raise ValueError(f"write {{{str(start).replace(':', ': ')}}}, with a blank behind the colon, and a cap")
        return value if 1 in value else {1 if start in (0, "0") else start: cap for start, cap in value.items()}

    @model_validator(mode="after")
    def _caps_from_the_start(self) -> "RLRecipe":
        if min(self.max_new_tokens, default=0) != 1:
            raise ValueError("`max_new_tokens` needs a cap for step 1 and none before it")
        if self.minibatch_prompts and self.prompts_per_step % self.minibatch_prompts:
            raise ValueError("`prompts_per_step` is no multiple of `minibatch_prompts`")
        return self

    @model_validator(mode="after")
    def _no_field_undoes_another(self) -> "RLRecipe":
        least, step = min((cap, step) for step, cap in self.max_new_tokens.items() if step <= self.steps)
        if self.overlong_penalty and self.overlong_penalty > least:
            raise ValueError(
                f"`overlong_penalty` {self.overlong_penalty} is more than `max_new_tokens` {least} of step {step}: "
                "every response there would be punished from its first token"
            )
        if self.growth and self.growth.caps[-1] <= least:
            raise ValueError(f"`growth.caps` end at {self.growth.caps[-1]}, which `max_new_tokens` allows at any step")
        check_stop(self.stop)
        return self

    def cap(self, step: int) -> int:
        """Most tokens of a response in `step` (from 1), as declared; `rl.watch.cap_of` heeds the trigger too."""
        return self.max_new_tokens[max(start for start in self.max_new_tokens if start <= step)]

    @property
    def longest_cap(self) -> int:
        """The longest response that any step may allow."""
        return max(*self.max_new_tokens.values(), *(self.growth.caps if self.growth else (0,)))
