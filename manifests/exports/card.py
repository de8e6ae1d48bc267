"""The dataset card of an exported manifest: README.md as the Hugging Face hub and `datasets.load_dataset` read it.

YAML front matter (configs, licences, size), then what a reader wants to know of a data set: what it is, its licences,
what became of its input, its columns, how to rebuild it. Every number comes from SQL over the manifest. Leaves out
absolute paths of the machine that built it: only the last part of such a path is shown.
"""

import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import yaml

from manifests import catalog, tables
from manifests.exports.files import Part
from manifests.manifest import Manifest

HUB_LICENSES = {
    "afl-3.0", "agpl-3.0", "apache-2.0", "bsd-2-clause", "bsd-3-clause", "cc", "cc-by-2.0", "cc-by-3.0", "cc-by-4.0",
    "cc-by-nc-3.0", "cc-by-nc-4.0", "cc-by-nc-nd-4.0", "cc-by-nc-sa-3.0", "cc-by-nc-sa-4.0", "cc-by-nd-4.0",
    "cc-by-sa-3.0", "cc-by-sa-4.0", "cc0-1.0", "cdla-permissive-2.0", "cdla-sharing-1.0", "gfdl", "gpl-3.0", "mit",
    "odbl", "odc-by", "openrail", "pddl", "unlicense",
}  # fmt: skip
"""Licences that the hub accepts as `license` and that such data sets have; anything else is `other`."""
SIZES = (("n<1K", 10**3), ("1K<n<10K", 10**4), ("10K<n<100K", 10**5), ("100K<n<1M", 10**6), ("1M<n<10M", 10**7),
         ("10M<n<100M", 10**8), ("100M<n<1B", 10**9), ("1B<n<10B", 10**10), ("10B<n<100B", 10**11))  # fmt: skip

LICENCES_OF = {
    "corpus": """
SELECT coalesce(license, 'unknown') AS licence, source, role, count(*) AS documents, sum(n_tokens)::BIGINT AS tokens
FROM documents WHERE manifest = $1 AND drop_reason IS NULL GROUP BY ALL ORDER BY ALL""",
    "mixture": """
SELECT coalesce(d.license, 'unknown') AS licence, d.source, d.role, count(DISTINCT m.doc_id) AS documents,
       sum(m.n_tokens)::BIGINT AS tokens
FROM members m JOIN documents d ON d.manifest = m.corpus AND d.doc_id = m.doc_id
WHERE m.manifest = $1 GROUP BY ALL ORDER BY ALL""",
    "prompts": """
SELECT coalesce(d.license, 'unknown') AS licence, d.source, d.role, count(*) AS prompts
FROM prompts p LEFT JOIN documents d ON d.manifest = p.corpus AND d.doc_id = p.doc_id
WHERE p.manifest = $1 GROUP BY ALL ORDER BY ALL""",
}
MIXTURE = """
SELECT component, corpus, "where", weight, share, sequences, tokens, epochs FROM components WHERE manifest = $1
ORDER BY component"""
MEASURED = "measured, or brought by the source; see docs/recipes.md"
"""Meaning of a column that the recipe defines."""
VERB = {
    "corpus": "curate",
    "mixture": "mix",
    "prompts": "mix",
    "classifier": "curate train-classifier",
    "annotations": "annotate",
}


def write_card(manifest: Manifest, parts: list[Part], folder: Path) -> None:
    """README.md of the files `parts` in `folder`."""
    licences = licences_of(manifest)
    front = yaml.safe_dump(_front_matter(manifest, parts, licences), sort_keys=False, allow_unicode=True)
    sections = [
        _about(manifest, parts),
        _licences(licences),
        *_history(manifest),
        _columns(manifest, parts),
        _rebuild(manifest),
    ]
    (folder / "README.md").write_text("\n".join(["---", f"{front}---", "", *sections]), encoding="utf-8")


def licences_of(manifest: Manifest) -> pa.Table | None:
    """Rows per licence and source; None for a kind that records none."""
    sql = LICENCES_OF.get(manifest.kind)
    return catalog.query(manifest.store, sql, [manifest.id]) if sql else None


def hub_licenses(licences: pa.Table | None) -> list[str]:
    """The licences in the spelling of the hub, sorted: a known identifier, `other`, or `unknown`."""
    named = {name.lower() for name in licences["licence"].to_pylist()} if licences else {"unknown"}
    short = {name if name in HUB_LICENSES | {"unknown"} else name.removesuffix("-1.0") for name in named}
    return sorted({name if name in HUB_LICENSES | {"unknown"} else "other" for name in short})


def whole_config(parts: list[Part]) -> str:
    """Name of the configuration that is all parts together."""
    return "default" if "default" not in [part.name for part in parts] else "all"


def _front_matter(manifest: Manifest, parts: list[Part], licences: pa.Table | None) -> dict[str, Any]:
    rows, licenses = sum(part.rows for part in parts), hub_licenses(licences)
    whole = {"config_name": whole_config(parts), "default": True, "data_files": _data_files("*", parts[0].split)}
    single = [{"config_name": part.name, "data_files": _data_files(part.name, part.split)} for part in parts]
    return {
        "pretty_name": manifest.ref,
        "license": licenses[0] if len(licenses) == 1 else licenses,
        "size_categories": [next((name for name, limit in SIZES if rows < limit), "100B<n<1T")],
        "tags": ["octothinker", manifest.kind, manifest.id],
        "configs": [whole, *single],
    }


def _data_files(part: str, split: str) -> list[dict[str, str]]:
    return [{"split": split, "path": f"data/{part}/*.parquet"}]


def _about(manifest: Manifest, parts: list[Part]) -> str:
    rows = [{"config": part.name, "rows": part.rows, "bytes in memory": part.bytes} for part in parts]
    return f"""# {manifest.ref}

The {manifest.kind} manifest `{manifest.id}`, frozen {manifest.provenance.get("time", "")} with
octothinker. The ID stands for exactly these rows in exactly one order; its digest is
`{manifest.digest}`.
{f"Made from {', '.join(f'`{parent}`' for parent in manifest.parents)}." if manifest.parents else ""}

```python
import datasets

rows = datasets.load_dataset("path/to/this/folder", split="{parts[0].split}")  # or with a config: {parts[0].name!r}
```

{_markdown(rows)}
"""


def _licences(licences: pa.Table | None) -> str:
    said = _markdown(licences.to_pylist()) if licences else "The manifest records none."
    return f"## Licences\n\nOf each source, as the recipe that read it says.\n\n{said}\n"


def _history(manifest: Manifest) -> list[str]:
    """What became of the input of a corpus; what a mixture consists of."""
    if manifest.kind == "corpus":
        funnel = catalog.funnel(manifest.store, manifest.id).to_pylist()
        said = "Per source, the first row is the sum of the others. What was dropped is not in these files."
        return [f"## Curation\n\n{said}\n\n{_markdown(funnel)}\n"]
    if manifest.kind == "mixture":
        made = catalog.query(manifest.store, MIXTURE, [manifest.id]).to_pylist()
        said = f"Sequences of {manifest.recipe['sequence_length']} tokens. Of the order and the repetitions these files"
        said += " hold nothing: each document is there once, `ordinal` is its place in the component's first epoch."
        return [f"## Mixture\n\n{said}\n\n{_markdown(made)}\n"]
    return []


def _columns(manifest: Manifest, parts: list[Part]) -> str:
    columns = columns_of(manifest, parts[0].schema)
    rows = [{"column": name, "type": kind, "meaning": meaning} for name, kind, meaning in columns]
    return f"## Columns\n\n{_markdown(rows)}\n"


def columns_of(manifest: Manifest, schema: pa.Schema) -> list[tuple[str, str, str]]:
    """(name, Arrow type, meaning) of each column."""
    known: dict[str, str] = {}
    for spec in (tables.DOCUMENTS, tables.TEXTS, *tables.FAMILY_VIEWS):
        if spec.name in {*manifest.families, "documents", "texts"}:
            known |= {name: meaning for name, meaning in spec.docs.items() if not meaning.startswith("as in")}
    return [(field.name, str(field.type), known.get(field.name, MEASURED)) for field in schema]


def _rebuild(manifest: Manifest) -> str:
    settings = manifest.provenance.get("settings")
    verb = VERB.get(manifest.kind)
    if not settings or not verb:
        return "## Build it again\n\nThe record holds no recipe for that.\n"
    code = manifest.provenance.get("code", {})
    at = f" (commit `{code['commit'][:12]}`{', with changes' if code['dirty'] else ''})" if code else ""
    recipe = yaml.safe_dump(_without_places(settings), sort_keys=False, allow_unicode=True).rstrip()
    return f"""## Build it again

With octothinker{at}, the sources at the places that the recipe names, and its parents in the store:

```bash
octo {verb} recipe.yaml      # prints {manifest.id}
octo manifest verify {manifest.ref}
```

```yaml
{recipe}
```
"""


def _without_places(settings: Any) -> Any:
    """Settings whose absolute paths are cut to their last name."""
    match settings:
        case dict():
            return {key: _without_places(value) for key, value in settings.items() if value is not None}
        case list():
            return [_without_places(value) for value in settings]
        case str() if re.match(r"(file:/*)?(/|~|[A-Za-z]:\\)\S", settings) and "\n" not in settings:
            return Path(settings.replace("\\", "/")).name
        case _:
            return settings


def _markdown(rows: list[dict[str, Any]]) -> str:
    """Rows as a Markdown table."""
    if not rows:
        return "None."
    lines = ["| " + " | ".join(rows[0]) + " |", "|" + "---|" * len(rows[0])]
    return "\n".join([*lines, *("| " + " | ".join(map(_cell, row.values())) + " |" for row in rows)])


def _cell(value: Any) -> str:
    match value:
        case None:
            return ""
        case int():
            return f"{value:,}"
        case float():
            return f"{value:.4g}"
        case _:
            return " ".join(str(value).split()).replace("|", "\\|")
