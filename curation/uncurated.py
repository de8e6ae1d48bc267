"""Makes a corpus from a folder or a hub data set without curation, for `octo manifest import`.

The recipe is that of a corpus with `rules: none`, and `curation.pipeline` builds it: the same reader, columns,
checksums, and ID at any number of workers. Promises: every record that can be read is a kept document, duplicates too;
one that cannot is a row of `quarantine`. Text is normalised as everywhere, and everything is measured, so that
`octo curate RECIPE --refilter` may apply the rules later. Leaves out corpora of several sources: these are recipes.
"""

from collections.abc import Sequence
from typing import Any

from curation.config import CurateRecipe
from manifests.recipe import override, parse

MAX_RECORD_BYTES = 64 << 20
"""A long document is not broken; up to this many bytes of a record are held in memory."""


def uncurated(
    path: str, name: str, version: str, role: str, tokenizer: str, fields: Sequence[str] = ()
) -> CurateRecipe:
    """The recipe of a corpus `name@version` of one source at `path`. `fields` are dotted fields of the source
    (`columns.text=content`). UserError for what is wrong with any of them."""
    source: dict[str, Any] = {"name": name, "path": path, "role": role}
    for field in fields:
        override(source, field)
    plain = {"name": name, "version": version, "tokenizer": tokenizer, "sources": [source], "rules": "none"}
    return parse(plain | {"max_record_bytes": MAX_RECORD_BYTES}, CurateRecipe, f"import of {path}")
