"""One build on three executors: the same corpus, whatever is killed on the way, and nothing left behind.

The Slurm of these tests is started on loopback from Debian's packages (marker engine; `make test-slurm` installs them).
"""

import json
import os
import signal
import threading
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.base import PipelineStep
from faults import Disturbed, faults, octo, write_recipe
from loopback_slurm import LoopbackSlurm, lacking

from curation.execution import slurm
from curation.execution.attempts import Survey, attempt
from curation.execution.local import run_tasks
from curation.execution.worker import run_task
from curation.measures.decontaminate import PARTS
from curation.pipeline import curate, input_files, submit
from curation.places import PlaceRecipe
from curation.tasks import Job, publish, task_record
from manifests.errors import UserError
from manifests.runs import load_run, load_runs
from manifests.store import Store

TIGHT = {
    "annotate": {"time": "00:10:00", "memory_gb": 0.5},
    "finish": {"time": "00:10:00", "memory_gb": 1, "cpus": 1},
}


# -- what counts as done ---------------------------------------------------------------------------------------------


class WriteHalf(PipelineStep):
    """Writes a file, as any of Datatrove's writers: to its place, without a checksum."""

    name, type = "Write", "test"

    def __init__(self, folder: Path):
        super().__init__()
        self.folder = folder

    def run(self, data=None, rank=0, world_size=1):
        (self.folder / f"{rank}.jsonl").write_text('{"text": "a whole line"}\n' * 100)


def test_datatroves_marker_accepts_a_torn_file_and_our_record_does_not(small_job, tmp_path):
    def again() -> list[int]:
        executor = LocalPipelineExecutor([WriteHalf(tmp_path)], 1, 1, logging_dir=str(tmp_path / "logs"))
        executor.run()
        return executor.get_incomplete_ranks()

    again()
    torn = tmp_path / "0.jsonl"
    torn.write_bytes(torn.read_bytes()[:1000])  # as a node leaves it that loses power before its cache is written
    assert again() == [] and torn.stat().st_size == 1000  # the marker is there, so the torn file is taken for whole

    run_tasks(small_job, 1)
    documents = small_job.output(small_job.files[0]) / "documents.parquet"
    whole = pq.read_table(documents)
    documents.write_bytes(documents.read_bytes()[:-1000])
    assert task_record(small_job, small_job.files[0]) is None
    run_tasks(small_job, 1)
    assert pq.read_table(documents).equals(whole)


@pytest.fixture
def small_job(sample, tokenizer, tmp_path) -> Job:
    """Two tasks, ready to be run."""
    recipe = sample.recipe(tokenizer)
    job = Job(tmp_path / "work", recipe, tokenizer, input_files(recipe, None)[:2], shares=((0,), (1,)))
    job.folder.mkdir()
    pq.write_table(PARTS.empty_table(), job.items)
    job.save()
    return job


def test_a_late_task_neither_replaces_sound_output_nor_begins_an_ended_build(small_job, tmp_path):
    run_task(small_job, 0, {})
    place = small_job.output(small_job.files[0])
    before = place.stat().st_ino
    late = tmp_path / "late"
    late.mkdir()
    publish(late, place)
    assert place.stat().st_ino == before and not late.exists()
    small_job.folder.rename(tmp_path / "gone")
    with pytest.raises(FileNotFoundError):
        run_task(small_job, 1, {})
    assert not small_job.folder.exists()


def test_an_attempt_says_what_its_task_died_of(small_job):
    with pytest.raises(ZeroDivisionError), attempt(small_job, 1, {"place": "here"}):
        _ = 1 // 0
    with pytest.raises(TimeoutError), attempt(small_job, 1, {"limit_seconds": 0.05}):
        time.sleep(5)
    first, second = Survey(small_job).tasks()
    assert (first.state, second.state, len(second.attempts)) == ("waiting", "failed", 2)
    assert "ZeroDivisionError" in second.attempts[0]["error"] and "timed out after 0.05 s" in second.why()
    line = small_job.attempts.joinpath("000000-0.json")
    line.write_text(json.dumps({"task": 0, "host": second.last["host"], "pid": 1 << 22, "started": 1.0}))
    assert Survey(small_job).tasks()[0].state == "killed"
    assert "killed" in Survey(small_job).tasks()[0].why()


# -- plans -----------------------------------------------------------------------------------------------------------


def test_one_limit_can_be_given_alone():
    place = PlaceRecipe.model_validate({"annotate": {"memory_gb": 8}, "finish": {"cpus": 1}})
    assert (place.annotate.time, place.annotate.memory_gb) == ("02:00:00", 8)
    assert (place.finish.time, place.finish.memory_gb, place.finish.cpus) == ("12:00:00", 16, 1)


def test_the_plan_holds_the_scripts_of_both_jobs_and_writes_nothing(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))  # no Slurm here: its own default of MaxArraySize
    place = {"partition": "cpu", "workers": 7, "sbatch": {"account": "math"}, "env_command": "module load python"}
    (annotate, array), (finish, end) = slurm.scripts(PlaceRecipe.model_validate(place), 2500)
    assert annotate == "annotate: no dependency, 3 arrays of 1001 at most"
    assert finish == "finish: --dependency=afterany:annotate"
    for said in ("--array=0-1000%7", "--partition=cpu", "--mem=4096M", "--account=math", "module load python"):
        assert said in array
    assert "--time=12:00:00" in end and "--cpus-per-task=4" in end and "--array=0-0\n" in end
    assert "mem-per-cpu" not in array and "launch_pickled_pipeline" not in array
    assert list(tmp_path.iterdir()) == []
    assert "--partition" not in slurm.scripts(PlaceRecipe(), 1)[0][1]


# -- local and Ray, as every run of the tests ------------------------------------------------------------------------


def kill_a_task(store: Path, stop: threading.Event) -> None:
    """SIGKILL the first process that is at work on a task."""
    harness = Disturbed(store.parent, store, "local")
    while not stop.is_set():
        if found := harness.tasks(store):
            os.kill(found[0], signal.SIGKILL)
            return
        time.sleep(0.01)


def test_ray_gives_the_same_corpus_though_a_task_is_killed(sample, tokenizer, corpus, tmp_path):
    stop = threading.Event()
    killer = threading.Thread(target=kill_a_task, args=(tmp_path / "store", stop))
    killer.start()
    try:
        built = curate(Store(tmp_path / "store"), sample.recipe(tokenizer, place=TIGHT), on="ray")
    finally:
        stop.set()
        killer.join()
    assert built.id == corpus.id
    (run,) = load_runs(built.store)
    assert (run["kind"], run["status"], run["summary"]["corpus"]) == ("curate", "done", corpus.id)
    lines = (tmp_path / "store" / "runs" / run["id"] / "tasks.jsonl").read_text().splitlines()
    assert sum(json.loads(line)["attempts"] for line in lines) > len(lines)
    assert built.store.list("work") == []


@pytest.mark.slow
def test_a_cluster_that_is_too_small_is_told(sample, tokenizer, tmp_path):
    place = {"annotate": {"time": "00:10:00", "memory_gb": 1e6}}
    with pytest.raises(UserError, match=r"no node of Ray has 1 CPUs and 1e\+06 GiB"):
        curate(Store(tmp_path), sample.recipe(tokenizer, place=place), on="ray")


@pytest.mark.slow
def test_killed_here_twice_and_the_same_corpus(tmp_path):
    assert faults(tmp_path, write_recipe(tmp_path), "local", 1, seed=3)["same ID"] == 1


# -- Slurm -----------------------------------------------------------------------------------------------------------

needs_slurm = pytest.mark.skipif(lacking() is not None, reason=str(lacking()))


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    with LoopbackSlurm(tmp_path_factory.mktemp("slurm"), max_array=4) as started:
        yield started


@pytest.mark.engine
@needs_slurm
def test_slurm_gives_the_same_corpus_in_arrays_of_the_size_that_is_allowed(
    cluster, sample, tokenizer, corpus, tmp_path
):
    store, recipe = Store(tmp_path), sample.recipe(tokenizer, place=TIGHT | {"task_bytes": "100K"})
    run = submit(store, recipe)
    again = submit(store, recipe)
    launches = load_run(store, run.id).record["slurm"]
    assert again.id == run.id and [launch["stage"] for launch in launches] == ["annotate", "finish"]
    assert launches[0]["elements"] > 4 and len(launches[0]["jobs"]) == -(-launches[0]["elements"] // 4)
    with pytest.raises(UserError, match="is being built by Slurm"):
        curate(store, recipe)
    assert {row["stage"] for row in slurm.job_table(load_run(store, run.id))} == {"annotate", "finish"}
    assert curate(store, recipe, on="slurm").id == corpus.id
    assert store.list("work") == []
    cluster.wait_for(lambda: not cluster.ask("squeue", "--noheader"), "end of its last job")


@pytest.mark.engine
@needs_slurm
def test_what_slurm_ends_is_told_and_done_by_the_next_launch(cluster, sample, tokenizer, corpus, tmp_path):
    store, broken = Store(tmp_path / "store"), tmp_path / "broken"
    broken.mkdir()
    (broken / "kill.sh").write_text("kill -9 $$")
    place = TIGHT | {"env_command": f"source {broken}/kill.sh", "retries": 0}
    with pytest.raises(UserError, match=r"tasks are not done; .* `octo runs show run-"):
        curate(store, sample.recipe(tokenizer, place=place), on="slurm")
    (run,) = load_runs(store)
    said = octo(["runs", "show", run["id"], "--store", store.url])
    assert "The same `octo curate` command does what is missing" in said
    assert curate(store, sample.recipe(tokenizer, place=TIGHT), on="slurm").id == corpus.id


@pytest.mark.engine
@needs_slurm
def test_a_job_that_no_node_can_hold_is_told_and_asked_for_anew(cluster, sample, tokenizer, corpus, tmp_path):
    store, large = Store(tmp_path), TIGHT | {"finish": {"time": "00:10:00", "memory_gb": 1, "cpus": 512}}
    with pytest.raises(UserError, match=r"for ever \(PartitionConfig\): 512 CPUs.* Lower place\.finish\.cpus"):
        curate(store, sample.recipe(tokenizer, place=large), on="slurm")
    assert curate(store, sample.recipe(tokenizer, place=TIGHT), on="slurm").id == corpus.id


# -- adding to a corpus ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("on", [
    pytest.param("ray", marks=pytest.mark.slow),
    pytest.param("slurm", marks=[pytest.mark.engine, needs_slurm]),
])  # fmt: skip
def test_a_corpus_is_added_to_elsewhere_as_here(on, sample, tokenizer, tmp_path, request):
    if on == "slurm":
        request.getfixturevalue("cluster")
    whole = sample.recipe(tokenizer, version="2", place=TIGHT)
    most = whole.model_copy(update={"version": "1", "sources": whole.sources[1:]})
    built = []
    for place in ("local", on):
        store = Store(tmp_path / place)
        base = curate(store, most)
        built.append(curate(store, whole, onto=base, on=place))
        assert [run["status"] for run in load_runs(store)] == ["done", "done"] and store.list("work") == []
    assert built[0].id == built[1].id and base.id in built[1].parents


# -- faults ----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("on", ["local", "ray"])
def test_20_disturbed_builds_end_as_an_undisturbed_one(on, tmp_path):
    assert faults(tmp_path, write_recipe(tmp_path), on, 20)["same ID"] == 20


@pytest.mark.slow
@pytest.mark.engine
@needs_slurm
def test_20_disturbed_builds_on_slurm_end_as_an_undisturbed_one(tmp_path):
    assert faults(tmp_path, write_recipe(tmp_path), "slurm", 20)["same ID"] == 20
