"""Held-out loss of a run on the way: measured in its own process, as rows of its ledger `losses_held_out`.

`Validation.measure` measures the weights that a process holds; `Validation.fill_in` measures checkpoints that are kept,
wherever rows are missing: when a run is resumed, or when one that is done is launched again with another validation.
What is asked for is not part of the identity of a run, since it changes no weight: a run has the rows of every
validation that it was launched with, told apart by manifest, kind and digest of the texts.

Promises. The rows of a step are stored at once, before its checkpoint, and are cut back with the other ledgers when the
run is resumed: a kill leaves no row twice. Leaves out steps whose weights are gone, and says so.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from evaluation.config import LossRecipe
from evaluation.contamination import manifests_behind
from evaluation.held_out.loss import Prepared, context_of, nats, rows_of
from evaluation.held_out.runs import LEDGER, load_for_measuring, prepared_for, store_rows
from evaluation.held_out.texts import Source, sources_of
from manifests.identity import json_digest
from manifests.runs import RunDirectory
from training.config import TrainRecipe
from training.ranks import Ranks

ALONE = Ranks()
FILLED = "validated"
"""In the record of a run that is done: the validations whose rows are there."""


Places = Mapping[int, Callable[[], Path]]
"""By step, what gives the folder of its weights."""


class Validation:
    """The loss on the manifests called `names`, within `limits`, of models with the tokenizer in a folder."""

    def __init__(self, run: RunDirectory, names: Sequence[str], limits: LossRecipe | None, tokenizer: Path):
        self.run, self.names, self.limits, self.tokenizer = run, names, limits or LossRecipe(), tokenizer
        self._prepared: list[Prepared] | None = None

    def measure(self, model: Any, step: int, saved: bool, ranks: Ranks = ALONE) -> dict[str, float]:
        """Measure `model` as the weights of `step`, together with the other ranks, and store the rows; bits per byte of
        each manifest, for a tracker. `saved` says whether a checkpoint is made of them."""
        if not self.names:
            return {}
        return self._measured(self._texts(context_of(model)), model, step, saved, ranks)

    def fill_in(self, places: Places, context: int | None) -> None:
        """Measure each step of `places` whose rows are missing, by a model with that context."""
        if not self.names:
            return
        there = self._there()
        for step, place in places.items():
            missing = [one for one in self._texts(context) if (step, *_key(one)) not in there]
            if missing:
                self._measured(missing, load_for_measuring(place()), step, step > 0, ALONE)

    @property
    def key(self) -> str:
        """What is asked for, as it stands in the record of a run once it is there."""
        asked = [[one.manifest.id, one.kind] for one in self._sources()]
        return json_digest([asked, self.limits.model_dump(include={*LossRecipe.model_fields})])[:16]

    def complete(self, places: Places, context: int | None, steps: Sequence[int]) -> None:
        """`fill_in` for a run that is done, once for each validation; says which of `steps` cannot be measured."""
        known = self.run.record.get(FILLED, [])
        if not self.names or self.key in known:
            return
        with self.run.held():
            self.fill_in(places, context)
            self.run.note(**{FILLED: [*known, self.key]})
        keys = {_key(one) for one in self._texts(context)}
        there = {step for step, *key in self._there() if tuple(key) in keys}
        if gone := [step for step in steps if step not in there]:
            said = f"{len(gone)} steps of {self.run.id} have no held-out loss, since their weights were not kept"
            print(f"octo: {said}: the first is {gone[0]}", file=sys.stderr)

    def _sources(self) -> list[Source]:
        return sources_of(self.run.store, list(manifests_behind(self.run.store, self.run)), self.names)

    def _texts(self, context: int | None) -> list[Prepared]:
        """The texts in tokens, made once."""
        if self._prepared is None:
            self._prepared = prepared_for(
                self.run.store, self._sources(), self.limits, self.tokenizer, context, self.run
            )
        return self._prepared

    def _there(self) -> set[tuple[int, str, str, str]]:
        rows = self.run.table(LEDGER)
        columns = ("step", "manifest", "texts", "digest")
        return {*zip(*(rows[name].to_pylist() for name in columns), strict=True)} if rows else set()

    def _measured(
        self, texts: Sequence[Prepared], model: Any, step: int, saved: bool, ranks: Ranks
    ) -> dict[str, float]:
        rows = []
        for one in texts:
            sums_D = torch.from_numpy(nats(model, one, ranks.rank, ranks.size)).to(model.device)
            ranks.add(sums_D)
            rows += rows_of(one, sums_D.cpu().numpy(), step, self.run.id, saved)
        if ranks.rank:
            return {}
        store_rows(self.run, rows)
        whole = [row for row in rows if row["slice"] == "all"]
        return {f"bits_per_byte/{row['texts']}/{row['manifest']}": row["bits_per_byte"] for row in whole}


def _key(one: Prepared) -> tuple[str, str, str]:
    return one.texts.manifest, one.texts.kind, one.digest


# -- of a training run ---------------------------------------------------------------------------------------------


def validation_of(run: RunDirectory, recipe: TrainRecipe, tokenizer: Path) -> Validation:
    """What the recipe of a training run asks for."""
    return Validation(run, recipe.validation.loss if recipe.validation else (), recipe.validation, tokenizer)


def is_saved(recipe: TrainRecipe, step: int, last: int) -> bool:
    """Whether `step` writes a checkpoint."""
    return step % recipe.checkpoint_every == 0 or step == last


def is_due(recipe: TrainRecipe, step: int, last: int) -> bool:
    """Whether `step` is measured: at a checkpoint, and every so many steps."""
    wanted = recipe.validation
    return bool(wanted) and (is_saved(recipe, step, last) or bool(wanted.every and step % wanted.every == 0))
