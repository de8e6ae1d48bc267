"""The processes that share a batch, for the torch backend: which rows are whose, and sums over all of them."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor


@dataclass(frozen=True)
class Ranks:
    """This process among those that share a batch."""

    rank: int = 0
    size: int = 1

    def share(self, n: int) -> slice:
        """The rows of this rank out of `n`."""
        parts = np.array_split(np.arange(n), self.size)[self.rank]
        return slice(int(parts[0]), int(parts[-1]) + 1) if len(parts) else slice(0, 0)

    def add(self, *tensors: Tensor) -> None:
        """Replace each tensor by its sum over the ranks."""
        if self.size > 1:
            for handle in [dist.all_reduce(tensor, async_op=True) for tensor in tensors]:
                assert handle
                handle.wait()


@contextmanager
def joined(dp: int) -> Iterator[Ranks]:
    """Among the ranks that torchrun started, until work is done; alone when `dp` is 1."""
    if dp == 1:
        yield Ranks()
        return
    dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    yield Ranks(dist.get_rank(), dist.get_world_size())
    dist.destroy_process_group()  # not after an error: the other ranks may not be there any more
