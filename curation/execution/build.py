"""A build between its launch and its manifest, kept in the run directory so that another process can finish it.

    runs/<id>/job.json      the tasks, as the first launch cut them; later launches of the same build use them
    runs/<id>/build.json    what freezing the manifest needs: store, key, identity, parents runs/<id>/tasks.jsonl   one
    line per task, once the build has ended (`curation.execution.attempts`)

The run's ID depends on what is built, not on where: a build that was started on Slurm can be resumed here. `finish`
refuses to start while the output of a task is missing or damaged. Afterwards only these files and the manifest are
left.
"""

import json
import shutil
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from curation.corpus.append import write_corpus
from curation.execution.attempts import Survey, history, totals
from curation.execution.shards import cut, share
from curation.reading.files import InputFile
from curation.tasks import Job, pending, replace_text
from manifests.errors import UserError
from manifests.manifest import Draft, Manifest, resolve
from manifests.runs import RunDirectory, load_run, open_run
from manifests.store import Store

KIND, BACKEND = "curate", "datatrove"


def scratch_name(key: str) -> str:
    """Name of the scratch folder, and of the lock, of the build with this key."""
    return f"curate-{key[:16]}"


@dataclass(frozen=True)
class Build:
    """One build: its run, its tasks, the draft of its manifest, the counts of benchmark items, the corpora from which
    no prompt may come, and the corpus to which its documents are appended."""

    run: RunDirectory
    job: Job
    draft: Draft
    key: str
    items: dict[str, int]
    training: tuple[Manifest, ...]
    onto: Manifest | None

    @classmethod
    def begin(
        cls,
        draft: Draft,
        parents: Iterable[Manifest],
        key: str,
        job: Job,
        sample: Path | None,
        training: tuple[Manifest, ...],
        onto: Manifest | None,
    ) -> "Build":
        """The build of `draft`, new or as an earlier launch left it. `job.files` are whole files, appended to `onto` if
        given; no prompt may be a document of `training`. The built-in sample is moved into the build, because tasks
        elsewhere outlive this process."""
        run = open_run(draft.store, KIND, parents, draft.recipe, BACKEND, inputs={"build": key})
        known = run.path / "job.json"
        if sample and not (kept := job.folder / "sample").exists():
            sample.rename(kept)
            sample.mkdir()
        if known.exists():
            before = Job.load(known)
            job = replace(job, files=before.files, shares=before.shares, run=run.path)
        else:
            files = cut(tuple(_moved(file, sample, job.folder) for file in job.files), job.recipe.place.task_bytes)
            job = replace(job, files=files, shares=share(files, job.recipe.place.task_bytes), run=run.path)
        return cls(run, job, draft, key, {}, training, onto)

    def save(self, items: pa.Table, counts: dict[str, int]) -> "Build":
        """Write the files that the tasks and the end need; `items` are those of the benchmarks, with their `counts`."""
        aside = self.job.items.with_name(uuid.uuid4().hex)
        pq.write_table(items, aside)
        aside.replace(self.job.items)
        self.job.save()
        plain = {"store": self.draft.store.url, "run": self.run.id, "key": self.key, "identity": self.draft.recipe}
        plain |= {"parents": self.draft.parents, "items": counts}
        plain |= {"training": [one.id for one in self.training], "onto": self.onto.id if self.onto else None}
        replace_text(self.run.path / "build.json", json.dumps(plain))
        return replace(self, items=counts)

    @classmethod
    def load(cls, folder: Path) -> "Build":
        """The build whose run directory is `folder`."""
        plain = json.loads((folder / "build.json").read_bytes())
        store = Store(plain["store"])
        parents = [resolve(store, parent) for parent in plain["parents"]]
        draft = Draft(store, "corpus", plain["identity"], parents)
        run, job = load_run(store, plain["run"]), Job.load(folder / "job.json")
        onto = resolve(store, plain["onto"]) if plain["onto"] else None
        training = tuple(resolve(store, one) for one in plain["training"])
        return cls(run, job, draft, plain["key"], plain["items"], training, onto)

    def finish(self) -> Manifest:
        """Freeze the manifest; UserError while tasks are missing."""
        if pending(self.job):
            raise self.unfinished()
        recipe, settings = self.job.recipe, self.job.recipe.model_dump(mode="json")
        counts = write_corpus(self.draft, self.job, self.training, self.onto) | {"items": self.items}
        counts |= {"left_out": self.job.left_out} if self.job.left_out else {}
        manifest = self.draft.commit(recipe.name, recipe.version, counts, self.key, settings)
        self.close(manifest)
        return manifest

    def unfinished(self) -> UserError:
        """The error of a build that has ended without its manifest."""
        hint = f"`octo runs show {self.run.id}` shows more; the same command runs the missing tasks"
        missing = pending(self.job)
        if not missing:
            why = self.run.record.get("reason") or "killed, out of memory (place.finish.memory_gb) perhaps"
            return UserError(f"all tasks are done, but the manifest was not frozen: {why}", hint)
        tasks = Survey(self.job).tasks()
        failed = [tasks[number] for number in missing if tasks[number].state in ("failed", "killed")]
        first = failed[0] if failed else tasks[missing[0]]
        last_line = (first.why() if failed else "it never began").strip().splitlines()[-1]
        file = self.job.files[first.number]
        said = f"{len(missing)} of {len(tasks)} tasks are not done; {file.source}/{file.name}: {last_line}"
        return UserError(said, hint)

    def close(self, manifest: Manifest) -> None:
        """Write the history of the tasks to the run directory and remove what only they needed."""
        if self.run.status != "done":
            survey = Survey(self.job)
            lines = history(survey.tasks()).encode()
            self.run.store.put(f"runs/{self.run.id}/tasks.jsonl", lines)
            self.run.finish({"corpus": manifest.id, "tasks": len(self.job.files)} | totals(survey.lines()))
        for folder in (self.job.attempts, self.job.logs, self.job.folder):
            shutil.rmtree(folder, ignore_errors=True)
        if not self.run.store.is_local:
            shutil.rmtree(self.run.path, ignore_errors=True)


def _moved(file: InputFile, sample: Path | None, folder: Path) -> InputFile:
    """`file` at its location after the sample was moved."""
    return replace(file, url=file.url.replace(str(sample), str(folder / "sample"))) if sample else file
