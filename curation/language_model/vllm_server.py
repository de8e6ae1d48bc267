"""A vLLM server on this machine, for one run, reachable only over loopback. Runs no code from a model repository.

Promises. It ends with the run, and with the process that started it, however that ends. Its output is in `vllm.log`.
"""

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from pathlib import Path

from curation.language_model.config import AnnotateRecipe
from manifests.process import die_with_parent, environment

LOG = "vllm.log"
STARTING_SECONDS, END_SECONDS, POLL_SECONDS = 3600.0, 30.0, 1.0
"""Time limits for vLLM to load a model and to end, and the interval at which its health is checked."""


class Ended(Exception):
    """vLLM has ended, or does not get ready."""


def free_port() -> int:
    """A port of this machine that nobody listens on now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@contextlib.asynccontextmanager
async def vllm_server(
    recipe: AnnotateRecipe, folder: Path, port: int, is_healthy: Callable[[str], Awaitable[bool]]
) -> AsyncIterator["asyncio.subprocess.Process"]:
    """vLLM with the recipe's model on `port`, ready; ended afterwards. Raises Ended when it does not get ready."""
    with (folder / LOG).open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            *_command(recipe, port), stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log, env=environment(),
            preexec_fn=partial(die_with_parent, signal.SIGTERM),  # SIGKILL spares its engine
            process_group=0,
        )  # fmt: skip
    try:
        await _until_ready(process, f"http://127.0.0.1:{port}/health", is_healthy)
        yield process
    finally:
        await _end(process)


def _command(recipe: AnnotateRecipe, port: int) -> list[str]:
    server = recipe.server
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", server.model_path or recipe.model]
    command += ["--served-model-name", recipe.model, "--host", "127.0.0.1", "--port", str(port)]
    command += ["--max-model-len", str(server.max_context)]
    return [*command, "--tensor-parallel-size", str(server.tensor_parallel)]


async def _until_ready(
    process: "asyncio.subprocess.Process", url: str, is_healthy: Callable[[str], Awaitable[bool]]
) -> None:
    try:
        async with asyncio.timeout(STARTING_SECONDS):
            while process.returncode is None:
                if await is_healthy(url):
                    return
                await asyncio.sleep(POLL_SECONDS)
    except TimeoutError as error:
        raise Ended(f"it was not ready within {STARTING_SECONDS:g} s") from error
    raise Ended(f"it ended with status {process.returncode} before it was ready")


async def _end(process: "asyncio.subprocess.Process") -> None:
    """Its server first, which ends its engine; what is left of the group afterwards."""
    if process.returncode is None:
        process.terminate()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), END_SECONDS)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    await process.wait()
