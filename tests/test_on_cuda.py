"""What runs on a GPU, on a machine without one: real steps on a GPU that is made believe; at the end, on a real one.

`Gpu` lets torch compute on the CPU and remembers which memory would lie on the device. Where an operation would meet
both kinds, as weights and a prompt that nobody moved, it raises as CUDA does. Leaves out what only a GPU can tell:
kernels, precision, speed.
"""

import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_leaves
from torch.utils.checkpoint import _allowed_determinism_checks_to_fns

from evaluation.samplers.sampling import Request, SamplingParams
from evaluation.samplers.transformers_sampler import _batches, _rows, encode, load_model, sample
from manifests import tables
from manifests.manifest import Draft
from manifests.recipe import parse
from manifests.runs import RunDirectory
from manifests.store import Store
from mixtures.reader import Batch
from rl.config import RLRecipe
from rl.launch import reinforce
from training.checkpoints import load_optimizer, load_random_state, load_weights, write_checkpoint, write_tokenizer
from training.config import ModelRecipe, OptimizerRecipe
from training.torch_backend import accumulate, adamw, attend_without_mask, inputs_and_labels, new_model, update

CUDA, CPU = torch.device("cuda", 0), torch.device("cpu")
aten = torch.ops.aten
COPIES = {aten.copy_, aten._to_copy}
INDEXED = {aten.index, aten.index_put_, aten._index_put_impl_}
"""Here what indexes may lie on the CPU where what is indexed does not."""


class Memory:
    """Which storages lie on the device."""

    def __init__(self) -> None:
        self._storages: set[int] = set()

    def __contains__(self, tensor: Tensor) -> bool:
        return tensor.untyped_storage()._cdata in self._storages

    def add(self, found: Any) -> Any:
        for storage in (tensor.untyped_storage() for tensor in tensors(found)):
            if storage._cdata not in self._storages:
                self._storages.add(storage._cdata)
                weakref.finalize(storage, self._storages.discard, storage._cdata)
        return found


def tensors(found: Any) -> list[Tensor]:
    return [one for one in tree_leaves(found) if isinstance(one, Tensor)]


class Operations(TorchDispatchMode):
    """What an operation makes lies where what it reads does, and all that it reads lies in one place."""

    def __init__(self, memory: Memory):
        super().__init__()
        self._memory = memory

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        read, kind = tensors((args, kwargs)), function.overloadpacket
        there = [tensor in self._memory for tensor in read]
        is_mixed = any(there) and any(one.dim() and not is_there for one, is_there in zip(read, there, strict=True))
        if is_mixed and kind not in COPIES and not (kind in INDEXED and there[0]):
            raise RuntimeError(f"{function}: expected all tensors to be on the same device, found cuda:0 and cpu")
        found = function(*args, **(kwargs or {}))
        is_there = there[0] if kind in COPIES else any(there)
        return self._memory.add(found) if is_there else found


class Gpu(TorchFunctionMode):
    """What is asked for on the device is made on the CPU, and remembered."""

    def __init__(self) -> None:
        super().__init__()
        self.memory = Memory()
        self.operations = Operations(self.memory)

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name, of = getattr(function, "__name__", ""), getattr(function, "__self__", None)
        if name == "__get__" and of is Tensor.device:
            return CUDA if args[0] in self.memory else function(*args)
        if name in ("numpy", "__array__") and args[0] in self.memory:
            raise TypeError("can't convert cuda:0 device type tensor to numpy")
        if name == "backward":
            with self:  # what was checkpointed is computed again
                engine, one = torch.autograd.Variable._execution_engine, torch.ones_like(args[0])
                return engine.run_backward((args[0],), (one,), False, False, (), True, accumulate_grad=True)
        if name == "_parse_to":  # of a module, which moves its weights one by one
            return function(*args, **(kwargs or {}))
        if name in ("cpu", "cuda"):
            name, function, args = "to", Tensor.to, (args[0], torch.device(name))
        named = list(map(self._asked, [*args, *(kwargs or {}).values()]))
        plain = [CPU if place else one for place, one in zip(named, [*args, *(kwargs or {}).values()], strict=True)]
        found = function(*plain[: len(args)], **dict(zip(kwargs or {}, plain[len(args) :], strict=True)))
        place = next(filter(None, named), None)
        if name == "to" and place and (place == "cuda") != (args[0] in self.memory):
            return self._moved(found, place)
        return self.memory.add(found) if place == "cuda" else found

    def _asked(self, argument: Any) -> str | None:
        """The kind of device that an argument names, of the two there are."""
        kind = str(argument).split(":")[0] if isinstance(argument, torch.device | str) else None
        return kind if kind in ("cpu", "cuda") else None

    def _moved(self, tensor: Tensor, place: str) -> Tensor:
        with _disable_current_modes():
            copy = tensor.clone()
        return self.memory.add(copy) if place == "cuda" else copy


@pytest.fixture
def on_gpu(monkeypatch: pytest.MonkeyPatch) -> Callable[[], Any]:
    """Within `with on_gpu():` there is a GPU with a GiB of memory."""
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: True)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (1 << 29, 1 << 30))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 1 << 29)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 0)
    monkeypatch.setattr(torch.cuda, "get_rng_state", lambda: torch.full((16,), 7, dtype=torch.uint8))

    # a checkpoint would compare the device that `Gpu` says with the one that there is
    monkeypatch.setitem(_allowed_determinism_checks_to_fns, "default", lambda tensor: tensor.shape)

    @contextmanager
    def within() -> Iterator[None]:
        gpu = Gpu()
        with monkeypatch.context() as patch, gpu, gpu.operations:
            patch.setattr(torch.cuda, "is_available", lambda: True)
            yield

    return within


SHAPE = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
BOXES = [rf"\boxed{{{answer}}}" for answer in range(4)]


@pytest.fixture
def start(tmp_path: Path) -> Path:
    """A model folder: random weights, a vocabulary of letters and boxed answers."""
    letters = sorted(set("Question:ĊAnswer:ĊpickĠ01234") | set("\\boxed{}"))
    bpe = Tokenizer(models.BPE({"<|endoftext|>": 0} | {letter: n for n, letter in enumerate(letters, 1)}, []))
    bpe.pre_tokenizer, bpe.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    bpe.add_special_tokens([AddedToken("<|endoftext|>", special=True)])
    bpe.add_tokens([AddedToken(text, normalized=False) for text in BOXES])
    (tmp_path / "tokenizer").mkdir()
    bpe.save(str(tmp_path / "bare.json"))
    write_tokenizer(tmp_path / "tokenizer", tmp_path / "bare.json", 0)
    torch.manual_seed(0)
    recipe = ModelRecipe(**SHAPE, num_key_value_heads=2, max_position_embeddings=256)
    model, folder = new_model(recipe, bpe.get_vocab_size(), 0), tmp_path / "start"
    optimizer = adamw(model, OptimizerRecipe(lr=0.01))
    for weight in model.parameters():
        weight.grad = torch.ones_like(weight)
    optimizer.step()
    write_checkpoint(folder, model, optimizer.state_dict(), tmp_path / "tokenizer")
    return folder


def test_what_the_gpu_refuses(on_gpu):
    """The rest of this file rests on it."""
    with on_gpu():
        there, here = torch.zeros(3, device="cuda"), torch.zeros(3)
        assert (str((there + 1)[1:].device), str(there.cpu().device), str(here.to(there.device).device)) == (
            "cuda:0",
            "cpu",
            "cuda:0",
        )
        for mistake in (lambda: there + here, lambda: torch.where(here > 0, there, 0), lambda: here[there.long()]):
            with pytest.raises(RuntimeError, match="on the same device"):
                mistake()
        with pytest.raises(TypeError, match="to numpy"):
            there.numpy()


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_sampling(start, on_gpu, temperature):
    """Prompts of unlike length that begin alike, stop strings, rows that end early: the answers of the CPU."""
    model, tokenizer = load_model(start)
    prompts = ["Question: pick " + "0" * 70 + "1" * n + "\nAnswer:" for n in (0, 3, 40)]
    params = SamplingParams(12, temperature, n=4, stop=("Question:", "4"), seed=3)
    with on_gpu():
        moved = model.to("cuda")
        assert str(moved.device) == "cuda:0"
        there = sample(moved, tokenizer, prompts, params)
    assert there == sample(load_model(start)[0], tokenizer, prompts, params)
    assert not temperature or len({one.tokens for group in there for one in group}) > 2


def test_the_cache_may_take_what_torch_keeps_in_reserve(start, on_gpu, monkeypatch):
    """After an update the driver has little left to give, and torch most of the memory."""
    with on_gpu():
        model, tokenizer = load_model(start)
        requests = [Request(tuple(ids), 0, 0) for ids in encode(tokenizer, ["Question:"] * 64)]
        rows = _rows(model, requests, SamplingParams(16))
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (1, 1 << 30))
        assert [len(batch) for batch in _batches(model, rows, 128)] == [64]


PROMPTS = [
    {"position": n, "prompt_id": f"p{n}", "doc_id": f"d{n}", "source": "all", "corpus": "corpus-0"}
    | {"question": f"pick {n}", "answer": str(n % 4)}
    for n in range(5)
]


def reinforced(folder: Path, start: Path, **values: Any) -> RunDirectory:
    store = Store(folder / "store")
    draft = Draft(store, "prompts", {"all": True})
    draft.write("prompts", [pa.Table.from_pylist(PROMPTS, schema=tables.PROMPTS.schema)], tables.PROMPTS.schema)
    plain = {"steps": 3, "prompts_per_step": 2, "group_size": 6, "max_new_tokens": 4, "optimizer": {"lr": 0.01}}
    plain |= {"grading_workers": 1, "threads": 1, "checkpoint_every": 1}
    return reinforce(store, draft.commit("prompts", "1"), parse(plain | values, RLRecipe, "rl.yaml"), start)


@pytest.mark.parametrize(
    "values",
    [{}, {"precision": "bfloat16"}, {"micro_batch_tokens": 64, "minibatch_prompts": 1, "objective": "dr_grpo"}],
)
def test_reinforcement(start, on_gpu, tmp_path, values):
    """Layers that are computed again and the fused optimizer aside, the steps are those of the CPU."""
    here = reinforced(tmp_path / "here", start, **values)
    with on_gpu():
        there = reinforced(tmp_path / "there", start, **values)
    assert there.status == here.status == "done"
    names = ("loss", "grad_norm", "entropy", "kl_to_start", "reward", "length_mean")
    if "precision" in values:  # autocast for CUDA leaves what lies on the CPU as it is
        return
    for name in names:
        ours, theirs = (run.table("steps")[name].to_pylist() for run in (here, there))
        assert theirs == pytest.approx(ours, rel=1e-3, abs=1e-6, nan_ok=True), name


def test_the_random_state_of_a_gpu_is_in_a_checkpoint(start, on_gpu, tmp_path, monkeypatch):
    model, _ = load_model(start)
    put_back = []
    monkeypatch.setattr(torch.cuda, "set_rng_state", put_back.append)
    with on_gpu():
        model = model.to("cuda")
        optimizer = adamw(model, OptimizerRecipe(lr=0.01))
        write_checkpoint(tmp_path / "there", model, optimizer.state_dict(), start)
        load_random_state(tmp_path / "there")
        load_optimizer(start, optimizer)
        assert [state.tolist() for state in put_back] == [[7] * 16]
        load_random_state(start)  # of a run on a CPU
    assert len(put_back) == 1
    load_random_state(tmp_path / "there")


@pytest.mark.parametrize("within", [False, True])
def test_training(start, on_gpu, within):
    """Steps on documents of uneven length, in micro-batches, with the loss of each token kept."""
    tokens = np.arange(4 * 17).reshape(4, 17) % 30
    batch = Batch(tokens, np.repeat([[0] * 5 + [1] * 9 + [2] * 3], 4, axis=0), [], pa.table({}))

    def trained(device: str) -> tuple[list[float], np.ndarray]:
        model, losses = load_weights(start).to(device).train(), []
        if not within:
            attend_without_mask(model)
        optimizer, (inputs, labels) = adamw(model, OptimizerRecipe(lr=0.01)), inputs_and_labels(batch)
        load_optimizer(start, optimizer)
        nats, positions = torch.zeros(inputs.shape), torch.as_tensor(batch.positions) if within else None
        for _ in range(3):
            loss = accumulate(model, inputs, labels, 3, positions_BS=positions, nats_BS=nats)
            losses += [loss.item(), update(model, optimizer, 0.01, 1.0).item()]
        return losses, nats.numpy()

    with on_gpu():
        there = trained("cuda")
    here = trained("cpu")
    assert there[0] == here[0] and np.array_equal(there[1], here[1])


# -- on a real one: `pytest -m gpu` ----------------------------------------------------------------------------------

has_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


@pytest.mark.gpu
@has_gpu
def test_greedy_answers_are_those_of_the_cpu(start):
    prompts = ["Question: pick " + "0" * 70 + "1" * n + "\nAnswer:" for n in (0, 3, 40)]
    params = SamplingParams(12, 0.0, n=2, stop=("Question:",))
    tokenizer, here, there = load_model(start)[1], load_weights(start).eval(), load_weights(start).eval().to("cuda")
    assert sample(there, tokenizer, prompts, params) == sample(here, tokenizer, prompts, params)


@pytest.mark.gpu
@has_gpu
@pytest.mark.parametrize("values", [{}, {"micro_batch_tokens": 64, "minibatch_prompts": 1}, {"precision": "bfloat16"}])
def test_reinforcement_is_that_of_the_cpu(start, tmp_path, monkeypatch, values):
    """What is drawn follows from the seed, not from the device; bfloat16 may draw others."""
    there = reinforced(tmp_path / "there", start, **values)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    here = reinforced(tmp_path / "here", start, **values)
    is_low = "precision" in values
    for name in ("entropy",) if is_low else ("entropy", "length_mean", "reward"):
        ours, theirs = (run.table("steps")[name].to_pylist() for run in (here, there))
        assert theirs == pytest.approx(ours, rel=0.05 if is_low else 1e-3), name
