"""Training on a CUDA device: the losses of the CPU, and exact resume. `pytest -m gpu` where there is one."""

import shutil

import pytest
import torch

from manifests.manifest import resolve
from manifests.store import Store
from training import torch_backend
from training.launch import train

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device; the CPU's tests hold the arithmetic"),
]


@pytest.fixture
def trained(mixture, recipe, tmp_path):
    """A run of a recipe with these fields, each in a store of its own."""

    def run(name, **values):
        store = Store(shutil.copytree(mixture[0].root, tmp_path / name))
        return train(store, resolve(store, "mixture@1"), recipe(**values))

    return run


def losses(run) -> list[float]:
    return run.table("steps")["loss"].to_pylist()


@pytest.mark.parametrize(
    ("values", "away"),
    [
        ({}, 1e-4),
        ({"compile": True, "micro_batch_sequences": 2}, 1e-4),
        ({"attention": "document", "document_losses": True}, 1e-4),
        ({"precision": "bfloat16", "compile": True}, 0.02),
    ],
)
def test_the_losses_are_those_of_the_cpu(trained, monkeypatch, values, away):
    found = trained("gpu", **values)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    wanted = trained("cpu", **{name: value for name, value in values.items() if name not in ("compile", "precision")})
    assert losses(found) == pytest.approx(losses(wanted), rel=away)
    assert found.table("consumption").equals(wanted.table("consumption"))


def test_a_run_that_stopped_goes_on(trained, monkeypatch, mixture, recipe):
    """From its checkpoint; sums on the device may be rounded in another order each time."""
    whole, plain = losses(trained("whole")), torch_backend.update

    def update(*arguments):
        counted.append(0)
        if len(counted) == 8:
            raise KeyboardInterrupt
        return plain(*arguments)

    counted: list[int] = []
    monkeypatch.setattr(torch_backend, "update", update)
    with pytest.raises(KeyboardInterrupt):
        train(*mixture, recipe())
    assert losses(train(*mixture, recipe())) == pytest.approx(whole, rel=1e-4)


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="one CUDA device")
def test_two_ranks_on_two_devices(trained):
    assert losses(trained("two", parallel={"dp": 2})) == pytest.approx(losses(trained("one")), rel=1e-4)
