"""A build's tasks: what each is, and what shows that it is done.

They run on this machine (`curation.execution.local`), on Slurm (`curation.execution.slurm`) or on Ray
(`curation.execution.on_ray`), each in any process that sees the build's scratch folder."""

import json
import shutil
import uuid
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from curation.config import CurateRecipe
from curation.reading.files import InputFile, Span
from manifests.identity import json_digest
from manifests.store import file_sha256

RULES_VERSION = 7
"""Raised whenever code changes what a task writes, so that neither old task output nor an old manifest is taken for the
new rules'."""
RECORD = "done.json"
"""A task's record: what it counted, and the checksums of its files. Written last."""
USER_ERROR = 3
"""Exit status of a worker that met what the user can put right; the last line of its log says what."""
ORPHANED, NO_ROOM = 4, 5
"""Exit status of a worker whose parent has gone, and of one that found the disk full."""


@dataclass(frozen=True)
class Job:
    """All tasks of one build, as a file that workers read. `folder` is the build's scratch folder, `model` and
    `language` the digests of the classifier and of the model that identifies languages, if there are files of these.
    `shares` are the tasks that Slurm or Ray runs in one job, `run` is the folder where it is told how they went."""

    folder: Path
    recipe: CurateRecipe
    tokenizer: Path
    files: tuple[InputFile, ...]
    model: str | None = None
    language: str | None = None
    shares: tuple[tuple[int, ...], ...] = ()
    run: Path | None = None

    @property
    def classifier(self) -> Path | None:
        """The classifier's model, copied here under its digest: training another at its path changes nothing here."""
        return self.folder / f"{self.model}.bin" if self.model else None

    @property
    def language_model(self) -> Path | None:
        """The model that identifies languages, copied here like the classifier."""
        return self.folder / f"{self.language}.bin" if self.language else None

    @property
    def items(self) -> Path:
        """Items of the benchmarks, as Parquet."""
        return self.folder / "items.parquet"

    def output(self, file: InputFile) -> Path:
        """Where the task of `file` puts its output."""
        span = [file.span.start, file.span.end] if file.span else []
        return self.folder / "tasks" / json_digest([file.source, file.name, file.sha256, *span])[:32]

    @property
    def home(self) -> Path:
        """The folder of the job's file, of its logs and attempts."""
        return self.run or self.folder

    @property
    def path(self) -> Path:
        return self.home / "job.json"

    @property
    def logs(self) -> Path:
        """Of workers and executors. Datatrove's completion marks lie there as well, and are never read."""
        return self.home / "logs"

    @property
    def attempts(self) -> Path:
        """One JSON line in a file of its own per attempt at a task; see `curation.execution.attempts`."""
        return self.home / "attempts"

    def save(self) -> Path:
        for folder in (self.logs, self.attempts):
            folder.mkdir(parents=True, exist_ok=True)
        plain = {"folder": str(self.folder), "tokenizer": str(self.tokenizer), "files": list(map(asdict, self.files))}
        plain |= {"model": self.model, "language": self.language, "shares": self.shares}
        plain |= {"run": str(self.run) if self.run else None, "recipe": self.recipe.model_dump(mode="json")}
        replace_text(self.path, json.dumps(plain))
        return self.path

    @classmethod
    def load(cls, path: Path) -> "Job":
        plain = json.loads(path.read_bytes())
        files = tuple(map(_file, plain["files"]))
        recipe = CurateRecipe.model_validate(plain["recipe"])
        shares = tuple(map(tuple, plain["shares"]))
        run = Path(plain["run"]) if plain["run"] else None
        places = Path(plain["folder"]), recipe, Path(plain["tokenizer"])
        return cls(*places, files, plain["model"], plain["language"], shares, run)


def _file(plain: dict[str, Any]) -> InputFile:
    span = Span(**plain["span"]) if plain["span"] else None
    return InputFile(**plain | {"parts": tuple(plain["parts"]), "span": span})


def replace_text(path: Path, text: str) -> None:
    """Write or replace a file: whoever reads it sees the old text or the new."""
    aside = path.with_name(f"{path.name}.{uuid.uuid4().hex}")
    aside.write_text(text)
    aside.replace(path)


def task_record(job: Job, file: InputFile) -> dict[str, Any] | None:
    """The record of the task of `file` if it was done to the end and its output is sound, else None."""
    return _sound_record(job.output(file))


def _sound_record(folder: Path) -> dict[str, Any] | None:
    try:
        record = json.loads((folder / RECORD).read_bytes())
        sound = all(file_sha256(folder / name) == digest for name, digest in record["files"].items())
    except (OSError, ValueError, KeyError):
        return None
    return record if sound else None


def publish(aside: Path, folder: Path) -> None:
    """Make `aside`, a task's whole output, that of `folder`. Where another process has done the same task meanwhile (it
    was thought lost, and was not), its output stays, since somebody may be reading it."""
    if _sound_record(folder) is None:
        shutil.rmtree(folder, ignore_errors=True)
        try:
            aside.rename(folder)
        except OSError:
            if _sound_record(folder) is None:
                raise
    shutil.rmtree(aside, ignore_errors=True)


def pending(job: Job) -> list[int]:
    """Positions of the tasks without sound output."""
    return [position for position, file in enumerate(job.files) if task_record(job, file) is None]
