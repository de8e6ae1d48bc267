"""Places: what they are asked, what they say, and how work is begun and ended there."""

import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from curation.places import FinishRecipe, PlaceRecipe, StageRecipe
from manifests.errors import UserError
from manifests.places.config import NeedsRecipe, seconds
from manifests.places.local import Local
from manifests.places.on_ray import Ray
from manifests.places.place import Place, Work
from manifests.places.slurm import Slurm
from manifests.process import PROJECT, environment
from manifests.recipe import parse
from training.config import SlurmRecipe

TIMES = (NeedsRecipe, StageRecipe, FinishRecipe, SlurmRecipe)


@pytest.mark.parametrize("model", TIMES)
@pytest.mark.parametrize("time", ["banana", "banana 02:00:00", "02:00", "1h", "02:61:00", "", "1-2", None, -5])
def test_a_time_that_slurm_would_refuse_is_refused_where_it_is_written(model, time):
    with pytest.raises(UserError, match="`time`"):
        parse({"time": time}, model, "recipe.yaml")


@pytest.mark.parametrize("model", TIMES)
@pytest.mark.parametrize(
    ("time", "is_"),
    [("02:00:00", 7200), ("1-00:00:00", 86400), ("100:00:01", 360001), (86400, 86400)],  # YAML reads 24:00:00 as 86400
)
def test_times(model, time, is_):
    assert seconds(parse({"time": time}, model, "recipe.yaml").time) == is_


def wait(place: Local, pid: str) -> int:
    for _ in range(500):
        if (status := place.exit_status(pid)) is not None:
            return status
        time.sleep(0.02)
    raise AssertionError("it does not end")


def test_work_on_this_machine(tmp_path):
    place: Place = Local({"GREETING": "hello"})
    assert isinstance(place, Local)
    quick = Work("quick", ("-c", "import os; print(os.environ['GREETING']); raise SystemExit(3)"), tmp_path / "logs")
    slow = Work("slow", ("-c", "import time; time.sleep(60)"), tmp_path / "logs")
    (one,), (other,) = place.submit(quick), place.submit(slow)
    assert [(element.id, element.state) for element in place.status("slow")] == [(other, "RUNNING")]
    assert wait(place, one) == 3 and place.status("quick") == []
    assert place.logs(quick)[0].read_text() == "hello\n"
    place.cancel([one, other])
    assert place.exit_status(other) == -signal.SIGTERM and place.status("quick", "slow") == []


def test_without_ray_it_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"place ray needs ray, which is not installed.*octothinker\[ray\].*--on local"):
        Ray().submit(Work("driver", ("-c", ""), tmp_path))


# -- Slurm -----------------------------------------------------------------------------------------------------------

SBATCH = """#!/bin/sh
n=$(cat {folder}/n 2>/dev/null || echo 100)
echo $((n + 1)) > {folder}/n
echo "$@" >> {folder}/asked
[ -e {folder}/refuse ] && {{ echo "sbatch: error: invalid partition" >&2; exit 1; }}
echo "$n;cluster"
"""
SQUEUE = """#!/bin/sh
echo "12_3|octo-run-annotate|PENDING|BadConstraints|"
echo "13|octo-run-finish|RUNNING|None|n[1-2]"
"""


@pytest.fixture
def cluster(tmp_path, monkeypatch) -> Path:
    """Programs that answer as Slurm's do."""
    for name, text in (("sbatch", SBATCH), ("squeue", SQUEUE)):
        program = tmp_path / name
        program.write_text(text.format(folder=tmp_path))
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return tmp_path


def work(folder: Path, **more) -> Work:
    return Work("octo-run", ("-m", "curation.execution.node", "it's"), folder / "logs", **more)


def test_one_job(cluster):
    assert Slurm().submit(work(cluster)) == ["100"]
    assert (cluster / "asked").read_text() == f"--parsable {cluster}/logs/job.sh\n"
    said = (cluster / "logs" / "job.sh").read_text()
    assert f"--output={cluster}/logs/%j.log\n" in said and "--dependency=singleton\n" in said and "array" not in said
    assert "PYTHONSAFEPATH=1" in said and said.endswith("-m curation.execution.node 'it'\"'\"'s'\n")


def test_an_array_beyond_what_is_allowed_is_several_one_after_the_other_where_few_may_run(cluster):
    jobs = Slurm(max_array=4).submit(work(cluster, elements=10, at_once=2, after=("7", "8")))
    assert jobs == ["100", "101", "102"]
    first, second, third = (cluster / "asked").read_text().splitlines()
    assert "--dependency=afterany:7:8 --export=ALL,RUN_OFFSET=0" in first
    assert "--dependency=afterany:7:8,afterany:100 --export=ALL,RUN_OFFSET=1" in second
    assert "afterany:101" in third and "RUN_OFFSET=2" in third
    assert "--array=0-3%2\n" in (cluster / "logs" / "job.sh").read_text()
    assert (cluster / "logs" / "slurm_logs").is_dir(), "Slurm makes no folder for its logs"


def test_together_where_all_may_run(cluster):
    Slurm(max_array=4).submit(work(cluster, elements=5))
    assert "dependency" not in (cluster / "asked").read_text()


def test_what_a_recipe_says_goes_into_the_script(cluster):
    recipe = PlaceRecipe.model_validate({"env_command": "module load python", "sbatch": {"exclusive": "", "mem": "0"}})
    said = Slurm(recipe).script(work(cluster, needs=recipe.finish))
    assert "#SBATCH --exclusive\n" in said and "#SBATCH --mem=0\n" in said and "--time=12:00:00" in said
    assert "\nmodule load python\n" in said and "\nexec python -m" in said
    assert f"exec {sys.executable} -m" in Slurm().script(work(cluster))


def test_what_slurm_says(cluster):
    waits, runs = Slurm().status("octo-run-annotate", "octo-run-finish")
    assert (waits.array, waits.state, waits.reason) == ("12", "PENDING", "BadConstraints")
    assert (runs.id, runs.state, runs.nodes) == ("13", "RUNNING", "n[1-2]")
    (cluster / "refuse").touch()
    with pytest.raises(UserError, match=r"invalid partition.*`place` in docs/recipes"):
        Slurm().submit(work(cluster))


# -- the path of a child ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("given", ["", os.pathsep, f".{os.pathsep}", "elsewhere"])
def test_a_folder_of_a_users_own_does_not_shadow_our_packages(tmp_path, monkeypatch, given):
    """`python -m` puts the working directory first, where people keep a folder called training/ or evaluation/."""
    for name in ("training", "evaluation", "curation", "manifests", "rl"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise SystemExit('the wrong one')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", given)
    program = "import training, evaluation, curation, manifests, rl; print(manifests.__file__)"
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment(), capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert Path(done.stdout.strip()).is_relative_to(PROJECT)


def test_a_grader_works_beside_such_a_folder(tmp_path, monkeypatch):
    from evaluation.grading.answers import Grader, Verdict

    (tmp_path / "evaluation").mkdir()
    (tmp_path / "evaluation" / "__init__.py").write_text("raise SystemExit('the wrong one')")
    monkeypatch.chdir(tmp_path)
    with Grader(workers=1) as grader:
        assert grader.grade_all([r"\boxed{6}"], ["6"], "boxed")[0].verdict is Verdict.CORRECT


def test_every_module_of_ours_is_started_with_the_safe_path():
    """Whoever runs `python -m` of ours takes its variables from `environment`."""
    for floor in ("manifests", "evaluation", "curation", "mixtures", "training", "rl"):
        for path in PROJECT.glob(f"{floor}/**/*.py"):
            text = path.read_text(encoding="utf-8")
            assert "PYTHONPATH" not in text or path.name in ("process.py", "slurm.py"), path
