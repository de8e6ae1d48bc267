"""`octo init`: a folder from which the whole walk runs, and nothing of the user's overwritten."""

import re
import shlex
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

import octo
from octo.project_recipes import README, copy_recipes

RUNNER = CliRunner()


def test_the_recipes_are_those_of_the_quickstart_and_run_from_the_folder(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OCTO_STORE", str(tmp_path / "store"))
    made = RUNNER.invoke(octo.app, ["init", "new/mine"])
    assert made.exit_code == 0 and "new/mine/corpus.yaml" in made.stdout.splitlines()
    originals = Path(octo.ROOT / "recipes" / "quickstart").glob("*.yaml")
    assert {path.name: path.read_text() for path in originals} == {
        path.name: path.read_text() for path in (tmp_path / "new/mine").glob("*.yaml")
    }
    monkeypatch.chdir(tmp_path / "new/mine")
    planned = RUNNER.invoke(octo.app, ["curate", "corpus.yaml", "sample.documents=400", "--plan", "--json"])
    assert planned.exit_code == 0, planned.output


def test_every_command_of_its_readme_is_one_and_names_a_file_that_is_written(tmp_path: Path):
    written = {path.name for path in copy_recipes(tmp_path)}
    assert set(re.findall(r"[a-z-]+\.yaml", README)) <= written
    lines = re.findall(r"^    (octo .*)$", README, re.MULTILINE)
    commands = [words[1:] for line in lines for command in line.split("&&") if (words := shlex.split(command))]
    assert len(commands) == 6
    for verb, *arguments in commands:
        shown = RUNNER.invoke(octo.app, [verb, *(["run"] if verb in ("curate", "rl") else []), "--help"])
        assert shown.exit_code == 0
        assert all(option in shown.output for option in arguments if option.startswith("--"))


@pytest.mark.parametrize("taken", ["corpus.yaml", "README.md", "rl.yaml"])
@pytest.mark.parametrize("as_link", [False, True])
def test_a_file_that_is_there_is_not_overwritten(taken: str, as_link: bool, tmp_path: Path, capsys):
    if as_link:
        (tmp_path / taken).symlink_to("nowhere")
    else:
        (tmp_path / taken).write_text("mine")
    before = sorted(tmp_path.iterdir())
    assert invoke("init", str(tmp_path)) == 1
    assert f"already has {taken}" in capsys.readouterr().err
    assert sorted(tmp_path.iterdir()) == before
    assert as_link or (tmp_path / taken).read_text() == "mine"


def test_a_folder_that_cannot_be_made_is_an_error_of_one_line(tmp_path: Path, capsys):
    (tmp_path / "file").write_text("mine")
    for folder in ("file", "file/below"):
        assert invoke("init", str(tmp_path / folder)) == 1
        assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_a_folder_with_other_files_is_taken(tmp_path: Path):
    (tmp_path / "notes.txt").write_text("mine")
    assert invoke("init", str(tmp_path)) == 0
    assert (tmp_path / "notes.txt").read_text() == "mine"
    shutil.rmtree(tmp_path)


def invoke(*arguments: str) -> int:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["octo", *arguments])
        return octo.command()
