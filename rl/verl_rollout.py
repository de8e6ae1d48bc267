"""A rollout of verl 0.9.1 that samples with transformers, through our own sampler. For machines without CUDA.

verl's rollouts are servers: a replica starts an actor that takes requests one by one, and an adapter in the training
worker hands it new weights after each update. `Server` waits until the requests of a step are there, so that they are
sampled in batches whose make-up does not depend on when each came in. Each response draws from the stream that the
torch backend would draw from: the same weights give the same responses. Leaves out top-k, top-p, several servers with
one model, images.
"""

import asyncio
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import ray
import torch
from verl.utils.config import omega_conf_to_dataclass  # type: ignore[import-not-found]
from verl.workers.rollout.base import BaseRollout  # type: ignore[import-not-found]
from verl.workers.rollout.replica import RolloutReplica, TokenOutput  # type: ignore[import-not-found]

from evaluation.samplers.sampling import Request, SamplingParams
from evaluation.samplers.transformers_sampler import complete
from training.checkpoints import load_weights

QUIET_SECONDS = 0.5
"""No request for so long: no more will come."""


@dataclass(eq=False)
class _Waiting:
    """A request that is not answered yet."""

    request: Request
    params: SamplingParams
    answer: "asyncio.Future[TokenOutput]"


class Server:
    """The actor that samples. verl calls it by method names."""

    def __init__(self, config: Any, model_config: Any):
        self._config = omega_conf_to_dataclass(config)
        folder = omega_conf_to_dataclass(model_config)
        self._model = load_weights(folder.local_path, getattr(torch, self._config.dtype)).eval()
        self._tokenizer = folder.tokenizer
        self._waiting: list[_Waiting] = []
        self._work: asyncio.Task[None] | None = None
        self._step = 0

    async def update_weights(self, weights: dict[str, Any], step: int | None) -> None:
        """Take the policy of `step`; nothing is being sampled while verl does this."""
        own = self._model.state_dict()
        with torch.no_grad():
            for name, tensor in weights.items():
                own[name].copy_(torch.as_tensor(tensor))
        self._step = self._step if step is None else step

    async def set_global_steps(self, step: int) -> None:
        self._step = step

    async def generate(
        self, prompt_ids: list[int], sampling_params: dict[str, Any], request_id: str, **_: Any
    ) -> TokenOutput:
        """One response. `sampling_params` are those of `rl.verl_hooks.Response`."""
        told = dict(sampling_params)
        stop, cap = tuple(told.get("stop") or ()), told["max_tokens"]
        params = SamplingParams(cap, told["temperature"], stop=stop, seed=self._config.seed)
        waiting = _Waiting(
            Request(tuple(prompt_ids), told["place"], told["number"]),
            params,
            asyncio.get_running_loop().create_future(),
        )
        self._waiting.append(waiting)
        if not self._work or self._work.done():
            self._work = asyncio.create_task(self._answer_all(told["together"]))
        return await waiting.answer

    async def _answer_all(self, together: int) -> None:
        while self._waiting:
            known = 0
            while known < len(self._waiting) < together:
                known = len(self._waiting)
                await asyncio.sleep(QUIET_SECONDS)
            batch, self._waiting = self._waiting, []
            batch.sort(key=lambda waiting: (waiting.request.stream, waiting.request.number))
            try:
                await asyncio.to_thread(self._answer, batch)
            except Exception as error:
                for waiting in batch:
                    if not waiting.answer.done():
                        waiting.answer.get_loop().call_soon_threadsafe(waiting.answer.set_exception, error)

    def _answer(self, batch: list[_Waiting]) -> None:
        done = complete(self._model, self._tokenizer, [waiting.request for waiting in batch], batch[0].params)
        for waiting, completion in zip(batch, done, strict=True):
            output = TokenOutput(
                token_ids=completion.token_ids,
                log_probs=completion.logprobs,
                stop_reason="completed",
                extra_fields={"global_steps": self._step},
            )
            waiting.answer.get_loop().call_soon_threadsafe(waiting.answer.set_result, output)

    async def _nothing(self, *_: Any, **__: Any) -> None:
        """Weights stay where they are."""

    wake_up = sleep = clear_kv_cache = release_kv_cache = resume_kv_cache = _nothing
    start_profile = stop_profile = abort_all_requests = resume_generation = _nothing


def _server_name(rank: int) -> str:
    return f"octo_server_{rank}"


class Replica(RolloutReplica):
    """Starts the server."""

    async def launch_servers(self) -> None:
        options = {"name": _server_name(self.replica_rank), "max_concurrency": self.max_concurrency, "num_cpus": 0}
        server = ray.remote(Server).options(**options).remote(self.config, self.model_config)
        await server.set_global_steps.remote(0)
        self.servers, self._server_handle = [server], server
        self._server_address = _server_name(self.replica_rank)


class Adapter(BaseRollout):
    """Lives in the training worker and hands the server its weights."""

    def __init__(self, config: Any, model_config: Any, device_mesh: Any, replica_rank: int = -1):
        super().__init__(config, model_config, device_mesh)
        self._rank = int(os.environ["RANK"]) if replica_rank == -1 else replica_rank

    async def resume(self, tags: list[str]) -> None:
        """Weights stay where they are."""

    release = resume

    async def update_weights(
        self, weights: Iterator[tuple[str, Any]], global_steps: int | None = None, **_: Any
    ) -> None:
        """Every rank draws from the generator, which gathers; each has a server of its own."""
        named = {name: tensor.detach().to("cpu", copy=True) for name, tensor in weights}
        server: Any = ray.get_actor(_server_name(self._rank))
        await server.update_weights.remote(named, global_steps)
