"""The part of a report about a manifest or run, by its kind."""

from manifests.manifest import Manifest
from manifests.runs import RunDirectory
from octo.report import (
    annotations,
    benchmark,
    classifier,
    corpus,
    curation_run,
    evaluation_run,
    mixture,
    pass_rates,
    prompts,
    rl_run,
    study,
    training_run,
)
from octo.report.frame import Part, Report, Thing


def part_of(report: Report, thing: Thing) -> Part:
    """The part about `thing`, from the module of its kind."""
    match thing:
        case Manifest(kind="corpus"):
            return corpus.part(report, thing)
        case Manifest(kind="mixture"):
            return mixture.part(report, thing)
        case Manifest(kind="prompts"):
            return prompts.part(report, thing)
        case Manifest(kind="classifier"):
            return classifier.part(report, thing)
        case Manifest(kind="annotations"):
            return annotations.part(report, thing)
        case Manifest(kind="pass_rates"):
            return pass_rates.part(report, thing)
        case Manifest(kind="proposals"):
            return study.proposals(report, thing)
        case Manifest(kind="study"):
            return study.part(report, thing)
        case Manifest():
            return benchmark.part(report, thing)
        case RunDirectory(record={"kind": "train"}):
            return training_run.part(report, thing)
        case RunDirectory(record={"kind": "rl"}):
            return rl_run.part(report, thing)
        case RunDirectory(record={"kind": "curate"}):
            return curation_run.part(report, thing)
        case RunDirectory(record={"kind": "pass-rate"}):
            return rl_run.measurement(report, thing)
        case RunDirectory(record={"kind": "study"}):
            return study.part(report, thing)
        case RunDirectory():
            return evaluation_run.part(report, thing)
