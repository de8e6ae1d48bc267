"""Curation under random SIGKILLs: of tasks, of the driver, and of what the engine runs on.

`Disturbed.run` gives the command again and again, kills something at a random moment of each, and lets the last one
come to its end. `check` says that the corpus is that of an undisturbed run and that nothing is left of the others.
`python tests/curation/faults.py local|slurm|ray RUNS [SEED]` prints the table of docs/log.md.
"""

import contextlib
import importlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from loopback_ray import LoopbackRay
from loopback_slurm import LoopbackSlurm

ROOT = Path(__file__).resolve().parent.parent.parent
LEFT_IN_RUN = {"run.json", "job.json", "build.json", "tasks.jsonl", "lock"}
PATIENCE = 900.0


def pids(*parts: str) -> list[int]:
    """Processes whose command line holds all of `parts`."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if entry.name.isdigit() and line and all(part in line for part in parts):
                found.append(int(entry.name))
    return found


class Forked:
    """The command in a fork of this process, which has imported all: on a busy machine that is most of its time."""

    def __init__(self, command: list[str], log: Path):
        self.log, self.returncode = log, None
        self.pid = os.fork()
        if not self.pid:
            self._become(command)

    def _become(self, command: list[str]) -> None:
        import octo

        handle = os.open(self.log, os.O_CREAT | os.O_TRUNC | os.O_RDWR)
        for number in (1, 2):
            os.dup2(handle, number)
        sys.argv = command[2:]
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        status = octo.command()
        sys.stdout.flush()
        os._exit(status)

    def poll(self) -> int | None:
        if self.returncode is None and (found := os.waitpid(self.pid, os.WNOHANG))[0]:
            self.returncode = os.waitstatus_to_exitcode(found[1])
        return self.returncode

    def communicate(self, timeout: float) -> tuple[str, str]:
        end = time.monotonic() + timeout
        while self.poll() is None:
            assert time.monotonic() < end, self.log.read_text()
            time.sleep(0.05)
        return self.log.read_text(), self.log.read_text()


@dataclass
class Disturbed:
    """Builds of `recipe` on one executor, each in a store of its own below `folder`."""

    folder: Path
    recipe: Path
    on: str
    slurm: LoopbackSlurm | None = None
    ray: LoopbackRay | None = None
    forked: bool = False
    killed: Counter[str] = field(default_factory=Counter)

    def command(self, store: Path) -> list[str]:
        more = ["--wait"] if self.on == "slurm" else ["--workers", "2"]
        command = [sys.executable, "-m", "octo", "curate", str(self.recipe), "--store", str(store)]
        address = [f"place.address={self.ray.address}"] if self.ray else []
        return [*command, *address, "--on", self.on, *more]

    def start(self, store: Path) -> "subprocess.Popen[str] | Forked":
        if self.forked:
            return Forked(self.command(store), self.folder / "said.txt")
        return subprocess.Popen(self.command(store), env=os.environ | {"PYTHONPATH": str(ROOT)}, text=True,
                                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)  # fmt: skip

    def run(self, seed: int, kills: int) -> Path:
        """Build with `kills` kills on the way; returns the store."""
        draw, store = random.Random(seed), self.folder / f"store-{seed}"
        for _ in range(kills):
            process = self.start(store)
            self.kill(draw, process, store)
            self.end(process)
        done = self.start(store)
        said, complaint = done.communicate(timeout=PATIENCE)
        assert done.returncode == 0, complaint
        self.last_id = said.strip().splitlines()[-1]
        return store

    def end(self, process: "subprocess.Popen[str]") -> None:
        """Let the command come to its end, as it will: with the corpus, with a complaint, or dead."""
        _, complaint = process.communicate(timeout=PATIENCE)
        assert "Traceback" not in complaint, complaint

    # -- what is killed --------------------------------------------------------------------------------------------

    def kill(self, draw: random.Random, process: "subprocess.Popen[str]", store: Path) -> None:
        """SIGKILL one thing of a kind that is drawn, some time after it is there; the driver mostly amid the tasks."""
        if draw.random() < 0.75:
            self.wait_for(lambda: self.tasks(store), process)
        time.sleep(draw.uniform(0, 1.5))
        kinds = {"driver": lambda: [process.pid], "task": lambda: self.tasks(store)}
        match self.on:
            case "ray":
                kinds |= {
                    "ray driver": lambda: pids("curation.execution.node", f"{store}/", " ray "),
                    "raylet": lambda: [-1],
                }
            case "slurm":
                kinds |= {
                    "end": lambda: pids("curation.execution.node", f"{store}/", " finish "),
                    "slurmd": lambda: [-1],
                }
        kind = draw.choice(sorted(kinds))
        target = self.wait_for(kinds[kind], process)
        if target is None:
            return
        if kind == "slurmd" and self.slurm:
            self.slurm.kill_slurmd()
            time.sleep(draw.uniform(0, 2))
            self.slurm.start_slurmd()
        elif kind == "raylet" and self.ray:
            self.ray.kill_node()
            time.sleep(draw.uniform(0, 2))
            self.ray.start_node()
        else:
            with contextlib.suppress(ProcessLookupError):
                os.kill(target, signal.SIGKILL)
        self.killed[kind] += 1

    def wait_for(self, find: Callable[[], list[int]], process: "subprocess.Popen[str]") -> int | None:
        while process.poll() is None:
            if found := find():
                return found[0]
            time.sleep(0.02)
        return None

    def tasks(self, store: Path) -> list[int]:
        """Processes that are at work on a task now, by what their attempts say."""
        found = []
        for path in store.glob("runs/*/attempts/*.json"):
            with contextlib.suppress(OSError, ValueError):
                line = json.loads(path.read_text())
                found += [line["pid"]] if "ended" not in line and Path(f"/proc/{line['pid']}").exists() else []
        return found

    # -- what must hold --------------------------------------------------------------------------------------------

    def check(self, store: Path, whole: Path) -> None:
        """`store` holds what the undisturbed `whole` holds, and neither a file nor a process more."""
        end = time.monotonic() + 60
        while pids(f"{store}/") and time.monotonic() < end:
            time.sleep(0.1)
        assert not pids(f"{store}/"), [command_line(pid) for pid in pids(f"{store}/")]
        octo(["manifest", "gc", "--older-than-hours", "0", "--store", str(store)])
        assert files(store, "objects") == files(whole, "objects")
        assert files(store, "manifests") == files(whole, "manifests")
        assert not files(store, "work") and not files(store, "tmp")
        assert {Path(name).name for name in files(store, "runs")} == LEFT_IN_RUN
        if self.slurm:
            assert not self.slurm.ask("squeue", "--noheader")


def octo(arguments: list[str]) -> str:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-m", "octo", *arguments], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def command_line(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    return ""


def files(store: Path, below: str) -> set[str]:
    return {str(path.relative_to(store)) for path in (store / below).rglob("*") if path.is_file()}


def faults(folder: Path, recipe: Path, on: str, runs: int, seed: int = 0, forked: bool = False) -> dict[str, Any]:
    """`runs` disturbed builds on one executor, each checked against an undisturbed local one."""
    started = time.monotonic()
    with contextlib.ExitStack() as stack:
        slurm = stack.enter_context(LoopbackSlurm(folder / "slurm")) if on == "slurm" else None
        ray = stack.enter_context(LoopbackRay(folder / "ray")) if on == "ray" else None
        whole = Disturbed(folder, recipe, "local", forked=forked).run(-1, 0)
        harness, same = Disturbed(folder, recipe, on, slurm, ray, forked), 0
        expected = json.loads(next((whole / "manifests" / "faults").glob("*.json")).read_text())["id"]
        for number in range(seed, seed + runs):
            store = harness.run(number, kills=random.Random(number).choice((1, 1, 1, 2)))
            assert harness.last_id == expected
            harness.check(store, whole)
            same += 1
            print(on, number, dict(harness.killed), f"{time.monotonic() - started:.0f} s", flush=True)
    return {"executor": on, "runs": runs, "same ID": same, "kills": dict(harness.killed)}


RECIPE = {
    "name": "faults",
    "tokenizer": str(ROOT / "recipes/quickstart/tokenizer"),
    "sample": {"seed": 5, "documents": 400},
    "sources": [{"name": name, "path": f"sample://{name}", "role": name} for name in ("rl", "qa")],
    "place": {"task_bytes": "6K", "annotate": {"time": "00:10:00", "memory_gb": 0.5},
              "finish": {"time": "00:10:00", "memory_gb": 1, "cpus": 1}},
}  # fmt: skip


def write_recipe(folder: Path) -> Path:
    (folder / "faults.yaml").write_text(json.dumps(RECIPE))
    return folder / "faults.yaml"


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that no daemon outlives it
    with tempfile.TemporaryDirectory(prefix="octo-faults-", ignore_cleanup_errors=True) as place:
        sys.path.insert(0, str(ROOT))
        for module in ("octo", "curation.pipeline", "curation.execution.worker", "manifests.catalog"):
            importlib.import_module(module)
        on, runs, seed = sys.argv[1], int(sys.argv[2]), int((*sys.argv, 0)[3])
        print(faults(Path(place), write_recipe(Path(place)), on, runs, seed, forked=True))
