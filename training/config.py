"""Recipe of a mid-training run: what to start from, the optimizer, the schedule, the batch, the stages after the first.

Loads neither torch nor datatrove. Settings that cannot change a result beyond rounding (threads, ranks, micro-batches,
the checkpoint interval) are local. The next stage is either another recipe, launched from the first run, or an item of
`then`.
"""

from typing import Annotated, Literal, assert_never

from pydantic import Field, model_validator

from evaluation.config import LossRecipe
from manifests.paths import FileName
from manifests.places.config import NeedsRecipe, SlurmSettings, Time
from manifests.recipe import Amount, Local, Recipe

TrackerName = Literal["tensorboard", "wandb", "trackio", "mlflow"]
ArchitectureName = Literal["qwen2"]
"""Each has a row in `training.models`."""
ShapeName = Literal["constant", "cosine", "linear", "1-sqrt"]
"""Each has a case in `training.schedule` and in `training.nanotron_config`."""
AttentionName = Literal["document"]
"""Each has a case in `keeps_to_documents`."""
Precision = Literal["float32", "bfloat16"]
"""Each has a case in `is_half`."""

Count = Annotated[Amount, Field(gt=0)]


def is_half(precision: Precision) -> bool:
    """Whether forward passes are computed in bfloat16 instead of float32."""
    match precision:
        case "float32":
            return False
        case "bfloat16":
            return True
        case _:
            assert_never(precision)


def keeps_to_documents(attention: AttentionName | None) -> bool:
    """Whether a token attends only to its own document, instead of to all earlier tokens of the sequence."""
    match attention:
        case None:
            return False
        case "document":
            return True
        case _:
            assert_never(attention)


Backend = Literal["torch", "nanotron"]
"""What trains."""


class RopeScalingRecipe(Recipe):
    """Llama 3's scaling of the rotary frequencies; fields as in transformers' `rope_parameters`."""

    factor: Annotated[float, Field(ge=1)]
    """Divisor of the low frequencies: 32 in Llama 3.2, 8 in Llama 3.1."""
    low_freq_factor: Annotated[float, Field(gt=0)] = 1.0
    """Wavelengths longer than the original context divided by this number are scaled by the full factor."""
    high_freq_factor: Annotated[float, Field(gt=0)] = 4.0
    """Wavelengths shorter than the original context divided by this number stay unchanged."""
    original_max_position_embeddings: Count = 8192
    """Context length before the scaling, in tokens."""

    @model_validator(mode="after")
    def _has_a_band(self) -> "RopeScalingRecipe":
        if self.low_freq_factor >= self.high_freq_factor:
            raise ValueError("`low_freq_factor` must be below `high_freq_factor`")
        return self


class ModelRecipe(Recipe):
    """A Llama or Qwen2 to initialise from random weights; fields as in transformers' configurations."""

    architecture: ArchitectureName | None = None
    """`qwen2` has biases on query, key and value; by default a Llama."""
    vocab_size: Count | None = None
    """Rows of the embedding; by default the number of tokens of the mixture's tokenizer."""
    hidden_size: Count
    """Width of the residual stream."""
    intermediate_size: Count
    """Width of the gated MLP."""
    num_hidden_layers: Count
    """Decoder layers."""
    num_attention_heads: Count
    """Query heads of a layer."""
    num_key_value_heads: Count | None = None
    """Key and value heads of a layer; by default as many as query heads."""
    max_position_embeddings: Count = 2048
    """Maximum context length, in tokens."""
    rope_theta: Annotated[float, Field(gt=0)] = 10_000.0
    """Base of the rotary position encoding."""
    rope_scaling: RopeScalingRecipe | None = None
    """Scaling of the rotary frequencies, as in Llama 3.1 and 3.2; by default none."""
    rms_norm_eps: Annotated[float, Field(gt=0)] | None = None
    """Epsilon of RMSNorm, added to the mean square; by default 1e-6."""
    tie_word_embeddings: bool = False
    """Whether the output layer shares the weights of the embedding."""
    initializer_range: Annotated[float, Field(gt=0)] = 0.02
    """Standard deviation of the initial weights."""

    @model_validator(mode="after")
    def _heads_divide(self) -> "ModelRecipe":
        heads, keys = self.num_attention_heads, self.num_key_value_heads or self.num_attention_heads
        if self.hidden_size % heads or self.hidden_size // heads % 2:
            raise ValueError(
                f"`hidden_size` {self.hidden_size} is not an even multiple of `num_attention_heads` {heads}"
            )
        if heads % keys:
            raise ValueError(f"`num_attention_heads` {heads} is not a multiple of `num_key_value_heads` {keys}")
        return self


class OptimizerRecipe(Recipe):
    """AdamW (Loshchilov and Hutter 2019) over all parameters, with clipping of the gradient's global norm."""

    lr: Annotated[float, Field(gt=0)]
    """Peak learning rate."""
    betas: tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]] = (0.9, 0.95)
    """Decay rates of the running means of the gradient and the squared gradient."""
    eps: Annotated[float, Field(gt=0)] = 1e-8
    """Epsilon, added to the root of the mean squared gradient."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.1
    """Decoupled weight decay."""
    clip: Annotated[float, Field(gt=0)] = 1.0
    """Maximum global norm of the gradient."""


class ScheduleRecipe(Recipe):
    """The learning rate over the steps of one stage; see `training.schedule`."""

    shape: ShapeName = "constant"
    """Shape of the decay from the peak learning rate to the minimum."""
    min_ratio: Annotated[float, Field(ge=0, le=1)] = 0.1
    """Minimum learning rate as a share of the peak; not used by a constant schedule."""
    warmup_steps: Annotated[Amount, Field(ge=0)] = 0
    """Steps in which the learning rate rises linearly to its peak."""


StageName = FileName


class ParallelRecipe(Recipe):
    """How a run is distributed over processes. Other numbers round sums differently; nothing else changes."""

    dp: Count = 1
    """Ranks that share the sequences of a batch."""
    tp: Count = 1
    """Ranks that share each layer (nanotron)."""


class NextStageRecipe(Recipe):
    """A stage that follows in the same run, with its own mixture and its own learning rate."""

    stage: StageName
    """Name of the stage in the ledgers."""
    manifest: Annotated[str, Local]
    """Mixture manifest: name@version, an ID or a prefix of one. Its ID enters the identity."""
    lr: Annotated[float, Field(gt=0)] | None = None
    """Peak learning rate; by default the recipe's."""
    schedule: ScheduleRecipe = ScheduleRecipe()
    """The learning rate over the steps of this stage."""
    steps: Count | None = None
    """Steps of the stage; by default the whole mixture."""


class SlurmRecipe(SlurmSettings, NeedsRecipe):
    """Resources that `octo train --on slurm` requests from Slurm."""

    nodes: Count = 1
    """Nodes; the ranks of `parallel` are distributed evenly over them."""
    gpus: Count | None = None
    """GPUs per node."""
    cpus: Count | None = None
    """CPUs per node."""
    memory_gb: Annotated[float | None, Field(gt=0)] = None
    """Memory per node in GiB; by default the default of the cluster."""
    time: Time = "24:00:00"
    """Time limit: hours:minutes:seconds, or days-hours:minutes:seconds. If a job reaches it, the same command submits
    it again, and the run resumes from its last checkpoint."""


class ValidationRecipe(LossRecipe):
    """Held-out loss on the way, as rows of `losses_held_out`: before the first step, every so many steps, at every
    checkpoint and after the last step. It changes nothing of what is learned."""

    loss: Annotated[tuple[str, ...], Field(min_length=1)]
    """Manifests to measure, as `octo eval --loss` takes them; `hold_out` is what the mixture of the run, or else
    of a run that it started from, holds out."""
    every: Count | None = None
    """Steps between measurements; by default at checkpoints only."""


class TrainRecipe(Recipe):
    """Mid-training on one mixture manifest, and on more of them if `then` has stages."""

    stage: StageName
    """Name of the stage in the ledgers: stable, decay-long, …"""
    model: ModelRecipe | None = None
    """Architecture with random initial weights; leave it out if the run starts from another run or a model folder."""
    start: Annotated[str | None, Local] = None
    """Hugging Face folder to start from. The checksums of its files enter the identity, the path does not."""
    carry_optimizer: bool = True
    """Whether a run that starts from another run uses its optimizer state."""
    optimizer: OptimizerRecipe
    """The optimizer."""
    schedule: ScheduleRecipe = ScheduleRecipe()
    """The learning rate over the steps."""
    batch_sequences: Count
    """Sequences per step."""
    micro_batch_sequences: Annotated[Count | None, Local] = None
    """Sequences per forward pass of a rank; by default all of the rank. Gradients accumulate over the whole batch."""
    steps: Count | None = None
    """Steps of the stage; by default the whole mixture, with a shorter last batch if necessary."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of the initial weights."""
    precision: Precision = "float32"
    """Precision of the forward pass; weights and optimizer are always float32."""
    attention: AttentionName | None = None
    """`document`: a token attends only to its own document; by default to all earlier tokens of the sequence."""
    then: tuple[NextStageRecipe, ...] | None = None
    """Stages that follow in the same run, with the same optimizer state and a continued step count."""
    parallel: Annotated[ParallelRecipe, Local] = ParallelRecipe()
    """Processes of the run."""
    checkpoint_every: Annotated[Count, Local] = 1000
    """Steps between checkpoints. The last step always writes one."""
    keep: Annotated[int, Field(ge=0), Local] = 2
    """Checkpoints to keep; 0 keeps all."""
    threads: Annotated[int | None, Field(gt=0), Local] = None
    """Threads of a CPU run. Another number rounds sums differently, so bit-exact resume needs the same number."""
    compile: Annotated[bool, Local] = False
    """Whether torch compiles the model, which takes some minutes and pays off on a GPU."""
    document_losses: Annotated[bool, Local] = False
    """Whether the loss on each document is written to the ledger `losses`; costs one more softmax per step."""
    validation: Annotated[ValidationRecipe | None, Local] = None
    """Held-out loss on the way. A run that is launched again with another validation is the same run: what is missing
    is measured at the checkpoints that are kept."""
    place: Annotated[SlurmRecipe, Local] = SlurmRecipe()
    """Resources that `--on slurm` requests."""
    track: Annotated[tuple[TrackerName, ...] | None, Local] = None
    """Trackers that receive the metrics; by default TensorBoard files in the folder of the run, if it is installed."""

    @model_validator(mode="after")
    def _one_start(self) -> "TrainRecipe":
        if self.model and self.start:
            raise ValueError("`model` and `start` exclude each other: new weights, or those of a folder")
        return self

    @model_validator(mode="after")
    def _peaks_are_reached(self) -> "TrainRecipe":
        for stage in (self, *(self.then or ())):
            if stage.steps and stage.schedule.warmup_steps >= stage.steps:
                raise ValueError(
                    f"`schedule.warmup_steps` {stage.schedule.warmup_steps} of stage {stage.stage} leave none of its "
                    f"{stage.steps} `steps` at the peak"
                )
        return self

    @model_validator(mode="after")
    def _names_differ(self) -> "TrainRecipe":
        names = [self.stage, *(following.stage for following in self.then or ())]
        if len(set(names)) < len(names):
            raise ValueError("two stages of a run have the same name")
        return self
