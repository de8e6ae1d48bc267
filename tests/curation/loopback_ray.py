"""A Ray cluster of two nodes on this machine, child processes, of which the second may be killed and come back."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from ray.util import get_node_ip_address

PATIENCE = 240.0


class LoopbackRay:
    """`address` is what `place.address` takes. Ray's own files lie below /tmp: its sockets must have short names."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.nodes: list[subprocess.Popen] = []

    def __enter__(self) -> "LoopbackRay":
        self.folder.mkdir(parents=True, exist_ok=True)
        port = _free_port()
        os.environ["RAY_AUTH_MODE"] = "disabled"  # of the cluster and of all that is started from here
        self.address = f"{get_node_ip_address()}:{port}"  # drivers take a loopback address for this one
        try:
            self._start("--head", f"--port={port}", f"--ray-client-server-port={_free_port()}",
                        "--include-dashboard=false", f"--temp-dir={self.folder}")  # fmt: skip
            self._wait(port)
            self.start_node()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for node in reversed(self.nodes):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(node.pid, signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                node.wait(20)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(node.pid, signal.SIGKILL)
            node.wait()

    def start_node(self) -> None:
        """Add the second node, again after it was killed."""
        self._start(f"--address={self.address}")

    def kill_node(self) -> None:
        """SIGKILL the second node: its raylet and with it the tasks."""
        node = self.nodes.pop()
        os.killpg(node.pid, signal.SIGKILL)
        node.wait()

    def _start(self, *arguments: str) -> None:
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--num-cpus=1", *arguments,
                   "--disable-usage-stats", "--min-worker-port=0",
                   "--max-worker-port=0", "--dashboard-agent-listen-port=0", "--memory=4000000000",
                   "--object-store-memory=200000000"]  # fmt: skip
        with (self.folder / "ray.out").open("ab") as log:
            self.nodes.append(subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True))

    def _wait(self, port: int) -> None:
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            with contextlib.suppress(OSError), socket.create_connection((self.address.split(":")[0], port), 1):
                return
            assert self.nodes[0].poll() is None, (self.folder / "ray.out").read_text()
            time.sleep(0.5)
        raise AssertionError(f"no Ray: {(self.folder / 'ray.out').read_text()}")


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]
