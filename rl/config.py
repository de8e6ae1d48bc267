"""Recipe of reinforcement learning with GRPO. Loads neither torch nor datatrove."""

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from manifests.recipe import Local, Recipe
from training.config import Count, OptimizerRecipe


class RLRecipe(Recipe):
    """Group-relative policy optimisation on one prompts manifest, from the last checkpoint of a run."""

    stage: str = Field(default="rl", pattern=r"[A-Za-z0-9][A-Za-z0-9._-]*")
    """Name of the stage in the ledgers."""
    template: str = "cpt_base"
    """Prompt template: cpt_base, ua_base or orz_base (see evaluation/templates.py)."""
    stop: tuple[str, ...] = ("Question:", "Answer:", "User:", "Assistant:")
    """Strings that end a response."""
    reward: Literal["binary", "signed"] = "binary"
    """What a right and a wrong answer earn: 1 and 0, or 1 and -1. An answer counts only in `\\boxed{}`."""
    steps: Count
    """Steps. The prompts are read in the manifest's order, from the start again when they run out."""
    prompts_per_step: Count
    """Prompts of one step."""
    group_size: Annotated[int, Field(ge=2)]
    """Responses per prompt; a response is judged against the others of its group."""
    minibatch_prompts: Count | None = None
    """Prompts of one update; by default all of the step. Fewer give several updates per step, clipped."""
    micro_batch_responses: Count = 64
    """Responses of one forward pass. Gradients add up to those of the whole minibatch."""
    temperature: Annotated[float, Field(gt=0)] = 1.0
    """Temperature of the policy that is sampled and trained."""
    max_new_tokens: dict[int, Count]
    """Longest response by the step from which it holds, as {1: 2048, 101: 4096}; the first is for step 1."""
    optimizer: OptimizerRecipe
    """The optimizer; its learning rate is constant. Its state is fresh."""
    ratio_clip: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """How far the probability ratio may leave 1 before a token's gradient is cut off."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of the sampling; each response of the run has a stream of its own."""
    checkpoint_every: Annotated[Count, Local] = 20
    """Steps between checkpoints. The last step always has one."""
    keep: Annotated[int, Field(ge=0), Local] = 2
    """Checkpoints to keep; 0 keeps all."""
    grading_seconds: Annotated[float, Field(gt=0), Local] = 5.0
    """Wall time after which grading one response is given up and counted as an error."""
    grading_workers: Annotated[int, Field(gt=0), Local] = 2
    """Processes that grade."""
    gpus: Annotated[Count, Local] = 1
    """GPUs of this machine that verl spreads the model over; without a GPU as many processes do."""
    patience_seconds: Annotated[float, Field(gt=0), Local] = 1800.0
    """Time without a sign of life after which verl is ended. Launched again, the run goes on from its last checkpoint."""
    threads: Annotated[int | None, Field(gt=0), Local] = None
    """Threads of a CPU run. Sums are rounded differently under another number, so bit-exact resume needs the same."""

    @field_validator("max_new_tokens", mode="before")
    @classmethod
    def _one_cap(cls, value: object) -> object:
        """`max_new_tokens: 512` holds from step 1."""
        return value if isinstance(value, dict) else {1: value}

    @model_validator(mode="after")
    def _caps_from_the_start(self) -> "RLRecipe":
        if min(self.max_new_tokens, default=0) != 1:
            raise ValueError("`max_new_tokens` needs a cap for step 1 and none before it")
        if self.minibatch_prompts and self.prompts_per_step % self.minibatch_prompts:
            raise ValueError("`prompts_per_step` is no multiple of `minibatch_prompts`")
        return self

    def cap(self, step: int) -> int:
        """Most tokens of a response in `step` (from 1)."""
        return self.max_new_tokens[max(start for start in self.max_new_tokens if start <= step)]
