"""A manifest of any kind as files of the field: what `octo manifest export` calls.

Of a mixture come the documents of each component, with the text as it was tokenised, or its token files for Datatrove
and nanotron:

    FOLDER/<component>/<component>.ds, .ds.index     tokens and ends of documents, as `mixtures.tokens` has them
    FOLDER/tokenizer/tokenizer.json                  the tokenizer
    FOLDER/nanoset.yaml                              what nanotron's `data.dataset` takes, with the shares as weights

Other kinds are `manifests.exports.export`'s. Promises: as there. Leaves out the order of a mixture and its epochs: no
format here has a place for them, nanotron draws an order of its own (`octo train --backend nanotron` reads ours).
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import yaml

from manifests.exports.export import (
    aligned,
    checked_format,
    export_rows,
    in_one_line,
    whole_folder,
    with_texts,
    write_rows,
)
from manifests.exports.files import Pieces
from manifests.manifest import Manifest, check_launch, resolve
from manifests.paths import below
from manifests.progress import progress
from manifests.tables import TEXTS
from mixtures.reader import token_type
from mixtures.tokens import written

KEPT = ["doc_id", "role", "url", "license", "n_chars"]
"""Columns of documents beside those of members."""
COPY_BYTES = 16 << 20


def export(manifest: Manifest, format: str, folder: Path) -> Path:
    """Write `manifest` into `folder`; see `manifests.exports.export.export_rows`. A mixture as rows needs its corpora
    in the store."""
    known = checked_format(manifest, format)
    if manifest.kind != "mixture":
        return export_rows(manifest, known, folder)
    with whole_folder(folder) as aside, in_one_line(manifest, known):
        check_launch(manifest.store, manifest)
        match known:
            case "nanoset":
                write_nanoset(manifest, aside)
            case "verl":
                raise AssertionError("holds prompts alone")
            case _:
                write_rows(manifest, documents_of(manifest), known, aside)
    return folder


# -- documents -----------------------------------------------------------------------------------------------------


def documents_of(manifest: Manifest) -> Pieces:
    """The documents of a mixture by component, in the order of their corpus. Memory: the IDs of one corpus."""
    templates = {part["name"]: part.get("template") for part in manifest.recipe["components"]}
    members = manifest.read("members")
    for component in pc.unique(members["component"]).to_pylist():
        mine = members.filter(pc.equal(members["component"], component))
        corpus = resolve(manifest.store, mine["corpus"][0].as_py())
        for table in _texts_of(mine, corpus, templates[component]):
            yield component, table


def _texts_of(members: pa.Table, corpus: Manifest, template: str | None) -> Iterator[pa.Table]:
    place = pc.index_in(corpus.read("documents", ["doc_id"])["doc_id"], value_set=members["doc_id"])
    rows = np.flatnonzero(pc.is_valid(place).to_numpy())
    members = members.take(place.take(pa.array(rows)))
    texts = aligned(corpus, "texts", corpus.take("texts", TEXTS.schema.names, rows))
    first = 0
    for documents in aligned(corpus, "documents", corpus.take("documents", KEPT, rows), KEPT):
        table = with_texts(documents, _as_tokenised(next(texts), template))
        for name in ("component", "ordinal", "source", "corpus", "n_tokens"):
            table = table.append_column(name, members[name].slice(first, len(table)))
        first += len(table)
        yield table


def _as_tokenised(texts: pa.Table, template: str | None) -> pa.Table:
    """`texts` with what was written into the token file as `text`."""
    if template is None or not len(texts):
        return texts
    (batch,) = texts.combine_chunks().to_batches()
    return texts.set_column(texts.column_names.index("text"), TEXTS.schema.field("text"), [written(batch, template)])


# -- tokens --------------------------------------------------------------------------------------------------------


def write_nanoset(manifest: Manifest, folder: Path) -> None:
    """A folder of token files per component, the tokenizer, and nanotron's settings."""
    shares = dict(zip(*(manifest.read("components")[name].to_pylist() for name in ("component", "share")), strict=True))
    files = {
        file.name: (below(folder, file.name.split(".ds")[0], file.name), file) for file in manifest.files("tokens")
    }
    files |= {file.name: (below(folder, "tokenizer", file.name), file) for file in manifest.files("tokenizer")}
    with progress("export", sum(file.bytes for _, file in files.values())) as advance:
        for place, file in files.values():
            place.parent.mkdir(exist_ok=True)
            with manifest.store.open(file.path) as source, place.open("wb") as target:
                while data := source.read(COPY_BYTES):
                    target.write(data)
                    advance(len(data))
    named = [name for name in shares if f"{name}.ds" in files]
    settings = {
        "dataset_folder": named,
        "dataset_weights": [shares[name] for name in named],
        "tokenizer_name": "tokenizer",
        "vocab_size": int(manifest.recipe["vocab_size"]),
        "token_size_in_bytes": token_type(manifest).itemsize,
        "return_positions": True,
    }
    length = int(manifest.recipe["sequence_length"])
    about = f"# {manifest.ref}, {manifest.id}: nanotron's data.dataset, seen from this folder.\n"
    about += f"# Sequences have {length} tokens. Their order is not here: nanotron draws its own by the weights.\n"
    (folder / "nanoset.yaml").write_text(about + yaml.safe_dump(settings, sort_keys=False), encoding="utf-8")
