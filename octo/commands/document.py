"""Commands about documents: `why`, `trace`, `near`."""

from pathlib import Path
from typing import Annotated

import typer

from octo.commands.groups import app
from octo.commands.options import JsonOption, StoreOption, open_store
from octo.printing import print_json, show, show_rows


@app.command()
def why(
    doc_id: Annotated[str, typer.Argument(help="Document ID.")],
    json_: JsonOption = False,
    store: StoreOption = None,
) -> None:
    """The history of a document: source, scores, why it was dropped, its mixtures, and the steps that read it."""
    from octo.life import life_of

    life = life_of(open_store(store), doc_id)
    if json_:
        print_json(life)
        return
    for row in life.pop("documents"):
        show_rows([{"field": key, "value": value} for key, value in row.items() if value is not None], doc_id)
    titles = ("What a language model said of it, and of the document that it was made from",
              "Mixtures and prompts that hold it out", "Mixtures: the sequences that hold it",
              "Training: the steps that read it",
              "Loss on it, where a run kept that (document_losses: true)", "Prompts made of it",
              "Reinforcement: its responses")  # fmt: skip
    for title, rows in zip(titles, life.values(), strict=True):
        show_rows(rows, title if rows else f"{title}: none")


@app.command()
def trace(
    what: Annotated[str, typer.Argument(help="A training run, or a mixture manifest.")],
    step: Annotated[int | None, typer.Option("--step", min=1, help="Step of the run, from 1.")] = None,
    rank: Annotated[
        int | None, typer.Option("--rank", min=0, help="Data-parallel rank, from 0; by default all.")
    ] = None,
    sequence: Annotated[int | None, typer.Option("--sequence", min=0, help="Sequence of the mixture, from 0.")] = None,
    text: Annotated[bool, typer.Option("--text", help="Include the text of each span.")] = False,
    json_: JsonOption = False,
    store: StoreOption = None,
) -> None:
    """What the model saw at a step of a run, or what a sequence of a mixture contains: documents and token spans."""
    import numpy as np

    from manifests.errors import UserError
    from manifests.manifest import resolve
    from manifests.runs import load_run
    from mixtures.tracing import trace as trace_sequences
    from training.consumed import trace as trace_step

    home = open_store(store)
    if step is not None:
        spans = trace_step(home, load_run(home, what), step, rank, text)
    elif sequence is not None:
        spans = trace_sequences(home, resolve(home, what), np.array([sequence]), text)
    else:
        raise UserError("trace needs --step (of a run) or --sequence (of a mixture)", "See `octo trace --help`")
    show(spans, f"{what}, {'step' if step else 'sequence'} {step or sequence}", json_)


@app.command()
def near(
    text: Annotated[str, typer.Argument(help="A text, or a file that contains it.")],
    manifest: Annotated[str, typer.Option("--manifest", help="Corpus manifest to search.")],
    threshold: Annotated[float, typer.Option("--threshold", min=0, max=1, help="Minimum estimated similarity.")] = 0.5,
    json_: JsonOption = False,
    store: StoreOption = None,
) -> None:
    """Find the near-duplicates of a text in a corpus manifest."""
    from curation.corpus.near import near as find_near
    from manifests.manifest import resolve

    corpus = resolve(open_store(store), manifest)
    is_file = len(text) < 4096 and Path(text).is_file()
    content = Path(text).read_text(encoding="utf-8") if is_file else text
    show_rows([vars(row) for row in find_near(corpus, content, threshold)], f"Near-duplicates in {corpus.ref}", json_)
