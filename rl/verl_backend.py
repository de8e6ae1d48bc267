"""Runs verl 0.9.1, unmodified, on prompts in the manifest's order, and keeps the run's ledger and checkpoints for it.

verl computes: rollouts, FSDP2, the update, its own checkpoints. We write the files it starts from (`to_verl`, prompts
as Parquet, what our hooks are told), start its `main_ppo` as a process, and read what it leaves: a line per response
from `rl.verl_hooks`, a line of metrics per step from verl. A step is recorded once verl has logged it, by the code that
records the torch backend's. A checkpoint of the run holds the model as a Hugging Face folder and, beside it, verl's own
`global_step_N`, from which the same launch goes on.

Promises. The prompts of a step depend on its number alone, on resume too. On the CPU so do, with seed and weights, its
responses and its update: they are those of the torch backend, up to rounding. The length schedule, declared or by
trigger, holds across resume. A driver that gives no sign of life for `patience_seconds` is ended, and however a launch
ends, none of its processes is left: they bear the engine's folder in their environment, and the next launch of a run
ends those of one that was itself killed. Where the watch stops a run, its last checkpoint is verl's last: it saves on
its own beat. Leaves out several machines, dynamic sampling, falling back (docs/guides/verl.md says why).
"""

import contextlib
import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, assert_never

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from transformers import AutoConfig, AutoTokenizer, GenerationConfig

from evaluation.grading.answers import Grade, Verdict
from evaluation.protocols.templates import render
from evaluation.samplers.sampling import Completion
from evaluation.samplers.transformers_sampler import encode
from manifests.errors import UserError
from manifests.process import environment
from manifests.progress import progress
from manifests.runs import Ledger, RunDirectory
from rl.config import Action, RLRecipe
from rl.rollouts import SCHEMAS, Learned, Rollouts, alarm_row, ledger_rows
from rl.torch_backend import Past, Validate, group_advantages
from rl.variants import objective_of
from rl.verl_config import ENGINE, Job, agent_loop, to_verl
from rl.watch import alarms
from training.checkpoints import copy_tokenizer
from training.doctor import is_cuda
from training.nanotron_config import FOLDER
from training.places import LAUNCHER, LOG
from training.trackers import Show, tracking

METRICS = "metrics.jsonl"
LOOK_SECONDS = 0.5
_ERROR = re.compile(r"(?:\x1b\[\d+m|\([^)]*pid=[^)]*\)|\s)*((?:\w+\.)*\w*(?:Error|Exception)\b.*?)(?:\x1b|$)")
"""A line of the log that names an exception, after the colours and the name of the actor that Ray puts before it."""
END_SECONDS = 20.0
"""How long processes may take to vanish after SIGKILL."""


def run_reinforcement(
    run: RunDirectory,
    prompts: list[dict[str, Any]],
    recipe: RLRecipe,
    start: Path,
    tokenizer: Any,
    validate: Validate | None = None,
) -> None:
    """Reinforce on `prompts` (rows of the family, in order) up to `recipe.steps` or until the watch stops the run, from
    its own last checkpoint if it has one, else from folder `start`. UserError when verl fails, or is hung."""
    engine, done = (run.path / FOLDER).resolve(), run.last_step
    end_processes(engine)  # of a launch that was itself killed
    run.truncate(done)
    follower = _Follower(run, prompts, recipe, start.resolve(), tokenizer, validate or _no_validation)
    follower.validate(done, follower.begin)
    tracked = tracking(run, recipe, recipe.track, done)
    with tempfile.TemporaryDirectory(prefix="octo-") as scratch, follower.ledger, tracked as follower.show:
        if follower.is_over:
            return
        _write_files(engine, recipe, follower, Path(scratch))
        try:
            _supervise(engine, recipe, follower)
        finally:
            end_processes(engine)
    if follower.is_over:
        for name in ("rollouts", "checkpoints", "cache"):  # the ledger has them, or nobody wants them
            shutil.rmtree(engine / name, ignore_errors=True)
    else:
        raise UserError(f"verl ended after step {follower.step} of {recipe.steps}", f"See {engine / LOG}")


def _no_validation(step: int, folder: Path) -> None:
    """Where nobody asks for it."""


# -- the files it starts from --------------------------------------------------------------------------------------


def _write_files(engine: Path, recipe: RLRecipe, follower: "_Follower", scratch: Path) -> None:
    shutil.rmtree(engine, ignore_errors=True)
    (engine / "rollouts").mkdir(parents=True)
    longest = max(map(len, follower.prompt_ids))
    job = Job(str(follower.start), str(engine), str(scratch), longest, is_cuda(), follower.resume)
    _write_yaml(engine / "verl.yaml", to_verl(recipe, job))
    _write_yaml(engine / "agent.yaml", agent_loop())
    told = {"recipe": recipe.model_dump(mode="json"), "eos_ids": _eos_ids(follower.start), "history": follower.caps}
    (engine / "launch.json").write_text(json.dumps(told, indent=1), encoding="utf-8")
    pq.write_table(laid_out(follower.prompts, follower.texts), engine / "prompts.parquet")


def _write_yaml(file: Path, plain: Any) -> None:
    file.write_text(yaml.safe_dump(plain, sort_keys=False), encoding="utf-8")


def laid_out(prompts: list[dict[str, Any]], texts: list[str]) -> pa.Table:
    """`texts`, the prompts of all steps one after the other, in verl's form; `prompts` are read again and again.
    `extra_info.index` is the place, the IDs are for people who read the file."""
    which = [prompts[place % len(prompts)] for place in range(len(texts))]
    return pa.table(
        {
            "data_source": [row["source"] for row in which],
            "prompt": [[{"role": "user", "content": text}] for text in texts],
            "reward_model": [{"style": "rule", "ground_truth": row["answer"]} for row in which],
            "extra_info": [
                {"index": place, "prompt_id": row["prompt_id"], "doc_id": row["doc_id"]}
                for place, row in enumerate(which)
            ],
        }
    )


def _eos_ids(folder: Path) -> list[int]:
    """The tokens that end a response, as `evaluation.samplers.transformers_sampler.eos_ids` has them of a loaded
    model."""
    found = [AutoTokenizer.from_pretrained(folder, local_files_only=True).eos_token_id]
    found.append(AutoConfig.from_pretrained(folder, local_files_only=True).get_text_config().eos_token_id)
    with contextlib.suppress(OSError):
        found.append(GenerationConfig.from_pretrained(folder, local_files_only=True).eos_token_id)
    flat = [one for item in found for one in (item if isinstance(item, list) else [item])]
    return sorted({one for one in flat if one is not None})


def _environment(engine: Path, recipe: RLRecipe) -> dict[str, str]:
    """Of the driver, and through it of every process of Ray."""
    plain = {
        ENGINE: str(engine),
        LAUNCHER: str(os.getpid()),
        "VERL_USE_EXTERNAL_MODULES": "rl.verl_plugin",
        "VERL_FILE_LOGGER_PATH": str(engine / METRICS),
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_CACHE": str(engine / "cache"),
        "TOKENIZERS_PARALLELISM": "false",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_prestart_worker_first_driver": "0",  # else as many processes as there are CPUs start to wait
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),  # else Ray writes one into the home folder
    }
    if not is_cuda():
        # the engine of FSDP is registered for `cuda` alone, a name that verl lets one ask for
        plain |= {"VERL_PLATFORM": "cpu", "VERL_ENGINE_DEVICE": "cuda", "OMP_NUM_THREADS": str(recipe.threads or 1)}
    dropped = ("RAY_ADDRESS", "RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
    return {name: value for name, value in environment().items() if name not in dropped} | plain


# -- the process ---------------------------------------------------------------------------------------------------


def _supervise(engine: Path, recipe: RLRecipe, follower: "_Follower") -> None:
    """Run the driver to its end, or that of the run, recording as it goes on. UserError when it fails, or is hung."""
    command = [sys.executable, "-m", "rl.verl_worker", "--config-path", str(engine), "--config-name", "verl"]
    with (engine / LOG).open("w", encoding="utf-8") as log, progress(f"rl: {recipe.stage}", recipe.steps) as advance:
        advance(follower.step)
        process = subprocess.Popen(
            command, env=_environment(engine, recipe), cwd=engine, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
        try:
            for _ in _signs_of_life(process, engine, recipe.patience_seconds):
                before = follower.step
                follower.follow()
                advance(follower.step - before, note=follower.note)
                if follower.is_stopped:
                    return
        finally:
            process.kill()
            process.wait()
    follower.follow()
    if process.returncode:
        raise _failure(engine, process.returncode)


def _signs_of_life(process: "subprocess.Popen[bytes]", engine: Path, patience: float) -> Iterator[None]:
    """Yields now and then until `process` ends. UserError when it does nothing for `patience` seconds."""
    seen, since = None, time.monotonic()
    while True:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=LOOK_SECONDS)
            return
        yield
        if (sizes := _sizes(engine)) != seen:
            seen, since = sizes, time.monotonic()
        elif time.monotonic() - since > patience:
            raise UserError(
                f"verl gave no sign of life for {patience:g} s and was ended",
                f"The same command goes on from the last checkpoint; see {engine / LOG}",
            )


def _sizes(engine: Path) -> list[tuple[str, int]]:
    """Of the files that grow while verl is at work, and of the list of checkpoints."""
    files = [*engine.glob("*.txt"), *engine.glob("*.jsonl"), *engine.glob("rollouts/*"), *engine.glob("checkpoints/*")]
    return sorted((path.name, path.stat().st_size) for path in files)


def _failure(engine: Path, status: int) -> UserError:
    lines = (engine / LOG).read_text(encoding="utf-8", errors="replace").splitlines()
    errors = [found[1] for line in lines if (found := _ERROR.match(line))]
    last = errors[-1][:300] if errors else f"status {status}"
    return UserError(f"verl stopped: {last}", f"See {engine / LOG}")


def end_processes(engine: Path) -> None:
    """Kill every process that bears `engine` in its environment, until none is left. Elsewhere than on Linux the
    driver's own end must do."""
    ends = time.monotonic() + END_SECONDS
    while found := _bearers(engine):
        for pid in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if time.monotonic() > ends:
            raise RuntimeError(f"processes {found} do not end")
        time.sleep(0.05)


def _bearers(engine: Path) -> list[int]:
    """Processes with the mark of this engine; those that are dead already and wait to be buried have none to show."""
    mark, found = f"{ENGINE}={engine}".encode(), []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if mark in (folder / "environ").read_bytes().split(b"\0"):
                found.append(int(folder.name))
    return found


# -- what it leaves ------------------------------------------------------------------------------------------------


class _Follower:
    """Reads what verl has done since it last looked, into the ledger and the checkpoints of the run."""

    def __init__(
        self,
        run: RunDirectory,
        prompts: list[dict[str, Any]],
        recipe: RLRecipe,
        start: Path,
        tokenizer: Any,
        validate: Validate,
    ):
        self._run, self._recipe, self.validate = run, recipe, validate
        self._engine, self.ledger = (run.path / FOLDER).resolve(), Ledger(run, SCHEMAS)
        self.prompts, self.start, self.note = prompts, start, ""
        self.show: Show = lambda step, numbers: None
        self.first = self.step = run.last_step
        self.begin = run.checkpoint(self.step) if self.step else start
        self.resume = str(self.begin.resolve() / f"global_step_{self.step}") if self.step else None
        self._past = Past.of(run)
        self.texts = [
            render(recipe.template, prompts[place % len(prompts)]["question"], place // len(prompts))
            for place in range(recipe.steps * recipe.prompts_per_step)
        ]
        self.prompt_ids = encode(tokenizer, self.texts)

    @property
    def caps(self) -> list[dict[str, Any]]:
        """What the trigger of the length needs to know of the steps before this launch."""
        return [{name: row[name] for name in ("cap", "truncated_share")} for row in self._past.history]

    @property
    def is_stopped(self) -> bool:
        """Whether the watch has ended the run, and a checkpoint is there to end with."""
        return self._past.stopped and bool(self._run.checkpoints())

    @property
    def is_over(self) -> bool:
        return self.is_stopped or self.step == self._recipe.steps == self._run.last_step

    def follow(self) -> None:
        """Record the steps that verl has logged, and keep the checkpoints that it has written."""
        for line in self._lines()[self.step - self.first :]:
            if not self.is_stopped:
                self._record(json.loads(line))
        for step in self._written():
            self.ledger.flush()
            self._run.save_checkpoint(step, lambda folder, step=step: self._move(step, folder), self._recipe.keep)
            self.validate(step, self._run.checkpoint(step))

    def _lines(self) -> list[bytes]:
        """Whole lines of verl's metrics, one per step of this launch."""
        with contextlib.suppress(FileNotFoundError):
            return (self._engine / METRICS).read_bytes().split(b"\n")[:-1]
        return []

    def _record(self, logged: dict[str, Any]) -> None:
        """The rows of a step, and what the watch says of it."""
        rollouts, recipe = self._rollouts(logged["step"]), self._recipe
        found = ledger_rows(rollouts, _learned(logged["data"], rollouts, recipe), recipe)
        for table, rows in found.items():
            self.ledger.add(table, rows)
        self._past.history += found["steps"]
        self.show(rollouts.step, found["steps"][0])
        for alarm in alarms(recipe.watch, self._past.history):
            self.ledger.add("alarms", [alarm_row(alarm, None)])
            print(f"octo: {alarm.action}: {alarm.said}", file=sys.stderr)
            self._past.stopped |= _stops(alarm.action)
        self.step, self.note = rollouts.step, f"reward {found['steps'][0]['reward']:.2f}"

    def _rollouts(self, step: int) -> Rollouts:
        """The responses of a step, in the order of prompts and then of samples."""
        text = (self._engine / "rollouts" / f"{step}.jsonl").read_text(encoding="utf-8")
        lines = sorted(map(json.loads, text.splitlines()), key=lambda line: (line["place"], line["number"]))
        places, rewards = [line["place"] for line in lines], [line["reward"] for line in lines]
        return Rollouts(
            step=step,
            group_size=self._recipe.group_size,
            cap=lines[0]["cap"],
            prompts_read=step * self._recipe.prompts_per_step,
            prompts=[self.prompts[place % len(self.prompts)] for place in places],
            texts=[self.texts[place] for place in places],
            prompt_ids=[self.prompt_ids[place] for place in places],
            completions=[
                Completion(o["response"], o["tokens"], o["truncated"], stopped_by=o.get("stopped_by")) for o in lines
            ],
            grades=[Grade(Verdict(o["verdict"]), o["extracted"], o["reason"]) for o in lines],
            rewards=rewards,
            advantages_N=group_advantages(rewards, self._recipe),
            used_N=np.ones(len(lines), dtype=bool),
        )

    def _written(self) -> list[int]:
        """Steps whose checkpoints verl has finished, and whose rows are recorded."""
        folder = self._engine / "checkpoints"
        with contextlib.suppress(FileNotFoundError, ValueError):
            last = min(int((folder / "latest_checkpointed_iteration.txt").read_text()), self.step)
            steps = [int(path.name.removeprefix("global_step_")) for path in folder.glob("global_step_*")]
            return sorted(step for step in steps if step <= last)
        return []

    def _move(self, step: int, folder: Path) -> None:
        """A checkpoint of the run out of one of verl's."""
        source = self._engine / "checkpoints" / f"global_step_{step}"
        exported = source / "actor" / "huggingface"
        config = json.loads((exported / "config.json").read_text(encoding="utf-8"))
        config |= {"dtype": "float32"}  # verl says bfloat16 of the float32 weights beside it
        (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        for file in [exported / "generation_config.json", *exported.glob("*.safetensors*")]:
            if file.is_file():
                shutil.move(file, folder / file.name)
        copy_tokenizer(self.start, folder)
        shutil.rmtree(exported)
        shutil.move(source, folder / source.name)


def _stops(action: Action) -> bool:
    """Whether an alarm ends the run."""
    match action:
        case "stop":
            return True
        case "warn":
            return False
        case "fall_back":
            raise AssertionError("`to_verl` refuses a recipe that falls back")
        case _:
            assert_never(action)


def _learned(logged: dict[str, Any], rollouts: Rollouts, recipe: RLRecipe) -> Learned:
    """What verl says of the updates, under our names. With a fixed divisor (Dr.GRPO) it divides entropy and KL as it
    does the loss, by the longest cap and the number of responses: of those with a ruling, and of all."""
    ruled = [c.tokens for c, reward in zip(rollouts.completions, rollouts.rewards, strict=True) if reward is not None]
    is_fixed = objective_of(recipe.objective).has_fixed_divisor
    unit = recipe.longest_cap / max(sum(ruled), 1) if is_fixed else None
    return {
        "loss": logged["actor/pg_loss"],
        "grad_norm": logged["actor/grad_norm"],
        "clip_share": logged["actor/pg_clipfrac"],
        "entropy": logged["actor/entropy"] * (unit * len(ruled) if unit else 1),
        "kl_to_start": logged["actor/kl_loss"] * (unit * len(rollouts.rewards) if unit else 1),
        "seconds": logged["timing_s/step"],
    }
