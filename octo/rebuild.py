"""Rebuilds a manifest from its record, in a scratch store."""

from curation.classifiers.config import ClassifierRecipe
from curation.classifiers.fit import train as train_classifier
from curation.config import CurateRecipe
from curation.pipeline import curate as build_corpus
from evaluation.benchmarks import BenchmarkRecipe, freeze_benchmark
from manifests.errors import UserError
from manifests.manifest import Manifest, copy_manifest, load_all, resolve
from manifests.recipe import parse
from manifests.store import Store
from mixtures.config import MixRecipe
from mixtures.extend import Start
from mixtures.mix import mix as build_mixture


def build_again(home: Store, manifest: Manifest, scratch: Store, workers: int) -> Manifest:
    """`manifest`, rebuilt in `scratch` from its parents and the recipe in its record."""
    settings = manifest.provenance.get("settings")
    if not settings:
        raise UserError(f"the record of {manifest.ref} holds no recipe", "It cannot be rebuilt from here")
    if manifest.kind in ("annotations", "pass_rates"):
        raise UserError(
            f"{manifest.ref} holds answers of a model", "They cannot be rebuilt; see `octo manifest verify`"
        )
    for known in load_all(home)[0]:  # under every name, since the recipe may call a parent by any of them
        if known.id in manifest.parents:
            copy_manifest(known, scratch)
    match manifest.kind:
        case "corpus":
            grown = manifest.counts.get("onto")
            onto = resolve(scratch, grown) if grown else None
            return build_corpus(scratch, parse(settings, CurateRecipe, manifest.ref), workers, onto=onto)
        case "benchmark":
            return freeze_benchmark(scratch, parse(settings, BenchmarkRecipe, manifest.ref))
        case "classifier":
            settings = settings | dict(zip(("corpus", "annotations"), manifest.parents, strict=False))
            return train_classifier(scratch, parse(settings, ClassifierRecipe, manifest.ref))
    first = manifest.recipe.get("first")
    start = Start(resolve(scratch, first["mixture"]), first["sequences"]) if first else None
    return build_mixture(scratch, parse(settings, MixRecipe, manifest.ref), start)
