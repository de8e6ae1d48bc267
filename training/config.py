"""Recipe of a mid-training stage: what to start from, the optimizer, the schedule, the batch.

Loads neither torch nor datatrove. What cannot change a result beyond rounding (threads, how often to checkpoint) is
local. A stage is one run; the next stage is another recipe, launched from the first run.
"""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from manifests.recipe import Amount, Local, Recipe

Count = Annotated[Amount, Field(gt=0)]


class ModelRecipe(Recipe):
    """A Llama to initialise from random weights; fields as in transformers' `LlamaConfig`."""

    vocab_size: Count | None = None
    """Rows of the embedding; by default as many as the mixture's tokenizer has tokens."""
    hidden_size: Count
    """Width of the residual stream."""
    intermediate_size: Count
    """Width of the gated MLP."""
    num_hidden_layers: Count
    """Decoder layers."""
    num_attention_heads: Count
    """Query heads of a layer."""
    num_key_value_heads: Count | None = None
    """Key and value heads of a layer; by default one per query head."""
    max_position_embeddings: Count = 2048
    """Longest context, in tokens."""
    rope_theta: Annotated[float, Field(gt=0)] = 10_000.0
    """Base of the rotary position encoding."""
    tie_word_embeddings: bool = False
    """Whether the embedding serves as output layer too."""
    initializer_range: Annotated[float, Field(gt=0)] = 0.02
    """Standard deviation of the initial weights."""


class OptimizerRecipe(Recipe):
    """AdamW (Loshchilov and Hutter 2019) over all parameters, with clipping of the gradient's global norm."""

    lr: Annotated[float, Field(gt=0)]
    """Peak learning rate."""
    betas: tuple[float, float] = (0.9, 0.95)
    """Decay of the running means of gradient and squared gradient."""
    eps: Annotated[float, Field(gt=0)] = 1e-8
    """Added to the root of the squared gradient's mean."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.1
    """Decoupled weight decay."""
    clip: Annotated[float, Field(gt=0)] = 1.0
    """Greatest global norm of a gradient."""


class ScheduleRecipe(Recipe):
    """The learning rate over the steps of the stage; see `training.schedule`."""

    shape: Literal["constant", "cosine", "linear", "1-sqrt"] = "constant"
    """How the learning rate goes from its peak to its minimum."""
    min_ratio: Annotated[float, Field(ge=0, le=1)] = 0.1
    """Minimum as a share of the peak; a constant schedule has none."""
    warmup_steps: Annotated[Amount, Field(ge=0)] = 0
    """Steps in which the learning rate climbs linearly to its peak."""


class TrainRecipe(Recipe):
    """One stage of mid-training on one mixture manifest."""

    stage: str = Field(pattern=r"[A-Za-z0-9][A-Za-z0-9._-]*")
    """Name of the stage in the ledgers: stable, decay-long, …"""
    model: ModelRecipe | None = None
    """Architecture to initialise; leave out when the run starts from another run or from a model folder."""
    start: Annotated[str | None, Local] = None
    """Hugging Face folder to start from. Its files' checksums enter the identity, the path does not."""
    carry_optimizer: bool = True
    """Whether a run that starts from another run takes over its optimizer state."""
    optimizer: OptimizerRecipe
    """The optimizer."""
    schedule: ScheduleRecipe = ScheduleRecipe()
    """The learning rate over the steps."""
    batch_sequences: Count
    """Sequences of one step."""
    micro_batch_sequences: Count | None = None
    """Sequences of one forward pass; by default the whole batch. Gradients add up to those of the whole batch."""
    steps: Count | None = None
    """Steps of the stage; by default the whole mixture, with a shorter last batch if need be."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of the initial weights."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Arithmetic of the forward pass; weights and optimizer are float32 always."""
    checkpoint_every: Annotated[Count, Local] = 1000
    """Steps between checkpoints. The last step always has one."""
    keep: Annotated[int, Field(ge=0), Local] = 2
    """Checkpoints to keep; 0 keeps all."""
    threads: Annotated[int | None, Field(gt=0), Local] = None
    """Threads of a CPU run. Sums are rounded differently under another number, so bit-exact resume needs the same."""

    @model_validator(mode="after")
    def _one_start(self) -> "TrainRecipe":
        if self.model and self.start:
            raise ValueError("`model` and `start` exclude each other: new weights, or those of a folder")
        return self
