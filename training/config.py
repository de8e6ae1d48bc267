"""Recipe of a mid-training run: what to start from, the optimizer, the schedule, the batch, the stages after the first.

Loads neither torch nor datatrove. What cannot change a result beyond rounding (threads, ranks, micro-batches, how often
to checkpoint) is local. The next stage is either another recipe, launched from the first run, or an item of `then`.
"""

from typing import Annotated, Literal, assert_never

from pydantic import Field, model_validator

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
    """Whether forward passes are computed in bfloat16 in place of float32."""
    match precision:
        case "float32":
            return False
        case "bfloat16":
            return True
        case _:
            assert_never(precision)


def keeps_to_documents(attention: AttentionName | None) -> bool:
    """Whether a token attends to its own document alone, in place of all before it in the sequence."""
    match attention:
        case None:
            return False
        case "document":
            return True
        case _:
            assert_never(attention)


class RopeScalingRecipe(Recipe):
    """Llama 3's scaling of the rotary frequencies; fields as in transformers' `rope_parameters`."""

    factor: Annotated[float, Field(ge=1)]
    """By how much the low frequencies are slowed: 32 in Llama 3.2, 8 in Llama 3.1."""
    low_freq_factor: Annotated[float, Field(gt=0)] = 1.0
    """Wavelengths beyond the original context divided by this are slowed by the whole factor."""
    high_freq_factor: Annotated[float, Field(gt=0)] = 4.0
    """Wavelengths below the original context divided by this are left as they are."""
    original_max_position_embeddings: Count = 8192
    """Context before the scaling, in tokens."""

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
    rope_scaling: RopeScalingRecipe | None = None
    """Scaling of its frequencies, as Llama 3.1 and 3.2 have it; by default none."""
    rms_norm_eps: Annotated[float, Field(gt=0)] | None = None
    """Added to the mean square in a norm; by default 1e-6."""
    tie_word_embeddings: bool = False
    """Whether the embedding serves as output layer too."""
    initializer_range: Annotated[float, Field(gt=0)] = 0.02
    """Standard deviation of the initial weights."""

    @model_validator(mode="after")
    def _heads_divide(self) -> "ModelRecipe":
        heads, keys = self.num_attention_heads, self.num_key_value_heads or self.num_attention_heads
        if self.hidden_size % heads or self.hidden_size // heads % 2:
            raise ValueError(f"`hidden_size` {self.hidden_size} is no even multiple of `num_attention_heads` {heads}")
        if heads % keys:
            raise ValueError(f"`num_attention_heads` {heads} is no multiple of `num_key_value_heads` {keys}")
        return self


class OptimizerRecipe(Recipe):
    """AdamW (Loshchilov and Hutter 2019) over all parameters, with clipping of the gradient's global norm."""

    lr: Annotated[float, Field(gt=0)]
    """Peak learning rate."""
    betas: tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]] = (0.9, 0.95)
    """Decay of the running means of gradient and squared gradient."""
    eps: Annotated[float, Field(gt=0)] = 1e-8
    """Added to the root of the squared gradient's mean."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.1
    """Decoupled weight decay."""
    clip: Annotated[float, Field(gt=0)] = 1.0
    """Greatest global norm of a gradient."""


class ScheduleRecipe(Recipe):
    """The learning rate over the steps of one stage; see `training.schedule`."""

    shape: ShapeName = "constant"
    """How the learning rate goes from its peak to its minimum."""
    min_ratio: Annotated[float, Field(ge=0, le=1)] = 0.1
    """Minimum as a share of the peak; a constant schedule has none."""
    warmup_steps: Annotated[Amount, Field(ge=0)] = 0
    """Steps in which the learning rate climbs linearly to its peak."""


StageName = FileName


class ParallelRecipe(Recipe):
    """How a run is spread over processes. Sums are rounded differently under other numbers; nothing else changes."""

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
    """Steps of the stage; by default its whole mixture."""


class SlurmRecipe(SlurmSettings, NeedsRecipe):
    """What `octo train --on slurm` asks of Slurm."""

    nodes: Count = 1
    """Nodes; the ranks of `parallel` are spread evenly over them."""
    gpus: Count | None = None
    """GPUs of each node."""
    cpus: Count | None = None
    """CPUs of each node."""
    memory_gb: Annotated[float | None, Field(gt=0)] = None
    """Memory of each node in GiB; by default what the cluster gives."""
    time: Time = "24:00:00"
    """Time limit: hours:minutes:seconds, or days-hours:minutes:seconds. A job that reaches it is submitted again by the
    same command, and goes on from its checkpoint."""


class TrainRecipe(Recipe):
    """Mid-training on one mixture manifest, and on further ones when there are stages in `then`."""

    stage: StageName
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
    micro_batch_sequences: Annotated[Count | None, Local] = None
    """Sequences of one forward pass of a rank; by default all of the rank. Gradients add up to the whole batch's."""
    steps: Count | None = None
    """Steps of the stage; by default the whole mixture, with a shorter last batch if need be."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of the initial weights."""
    precision: Precision = "float32"
    """Arithmetic of the forward pass; weights and optimizer are float32 always."""
    attention: AttentionName | None = None
    """`document`: a token attends to its own document alone; by default to all before it in the sequence."""
    then: tuple[NextStageRecipe, ...] | None = None
    """Stages that follow in the same run; optimizer state and the count of steps go on."""
    parallel: Annotated[ParallelRecipe, Local] = ParallelRecipe()
    """Processes of the run."""
    checkpoint_every: Annotated[Count, Local] = 1000
    """Steps between checkpoints. The last step always has one."""
    keep: Annotated[int, Field(ge=0), Local] = 2
    """Checkpoints to keep; 0 keeps all."""
    threads: Annotated[int | None, Field(gt=0), Local] = None
    """Threads of a CPU run. Sums are rounded differently under another number, so bit-exact resume needs the same."""
    compile: Annotated[bool, Local] = False
    """Whether torch compiles the model; worth its minutes on a GPU."""
    document_losses: Annotated[bool, Local] = False
    """Whether the ledger `losses` gets the loss on each document; one more softmax per step."""
    place: Annotated[SlurmRecipe, Local] = SlurmRecipe()
    """What --on slurm asks for."""
    track: Annotated[tuple[TrackerName, ...] | None, Local] = None
    """Where to show the metrics besides the ledgers; by default TensorBoard files in the run, where it is installed."""

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
            raise ValueError("two stages of a run have one name")
        return self
