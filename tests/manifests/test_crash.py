"""After death at any write: what was there is there, a second try ends the same, and nothing is left over."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

HERE = Path(__file__).parent


def walk(url: str, stride: int, scratch: Path) -> str:
    command = [sys.executable, str(HERE / "crash_walk.py"), url, str(stride)]
    environment = os.environ | {
        "PYTHONPATH": str(HERE.parents[1]),
        "OCTO_SCRATCH": str(scratch),
        "OMP_NUM_THREADS": "1",
    }
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    print(done.stdout)
    return done.stdout


def test_death_at_every_write_to_a_folder(tmp_path: Path):
    memory = "/dev/shm" if os.path.isdir("/dev/shm") else None  # some 7000 calls of fsync, which a disk answers slowly
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        points = int(walk(f"{folder}/store", 1, tmp_path).split()[0])
    assert points > 50


@pytest.mark.slow
def test_death_at_a_sample_of_writes_to_s3(new_bucket, tmp_path: Path):
    walk(f"{new_bucket()}/store", 16, tmp_path)


@pytest.mark.slow
def test_death_at_every_write_to_s3(new_bucket, tmp_path: Path):
    walk(f"{new_bucket()}/store", 1, tmp_path)
