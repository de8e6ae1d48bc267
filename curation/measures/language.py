"""The language of each document, identified from its prose only, without formulas, LaTeX commands, code and addresses.

The model is a fastText file with a label per language (lid.176 in either size, GlotLID, one of your own) or, when none
is given, py3langid 0.4, which ships its model: it named 1,649 of 1,650 maths-rich English texts English, 3 of them
below 0.65, and was right on 99.7% of 2,280 short texts in 36 languages (docs/log.md has its rivals). Promises. Equal
model and text give equal labels; the score is rounded to four digits, so that rounding differences between processors
do not enter an identity. A file that is not a complete model is a UserError before any work. A text with fewer than
LEAST letters is UNDETERMINED, with score 0, and never dropped for its language. Leaves out texts in several languages:
the first SAMPLE characters of prose decide for the whole text.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import py3langid
import pyarrow as pa
import pyarrow.compute as pc
from py3langid.langid import MODEL_FILE, LanguageIdentifier

from curation.config import LanguageRecipe
from curation.measures.classifier import PREFIX, load_model
from manifests.drop_reasons import DropReason
from manifests.errors import UserError

UNDETERMINED = "und"
"""ISO 639-2's code."""
LEAST, SAMPLE, LOOKED_AT = 20, 1_000, 8_000
"""Characters: letters that a text must have, prose that is shown to the model, and text that prose is sought in. More
prose changes nothing but the time, which it is proportional to."""
ENVIRONMENTS = (
    r"(equation|align|alignat|gather|multline|eqnarray|displaymath|math|array|verbatim|lstlisting|tikzpicture)"
)
NO_PROSE = (
    r"(?s)```.*?```|\$\$.*?\$\$|\$[^$\n]*\$|\\\[.*?\\\]|\\\(.*?\\\)"
    rf"|\\begin\{{{ENVIRONMENTS}\*?\}}.*?\\end\{{{ENVIRONMENTS}\*?\}}",
    r"\\(begin|end|label|ref|eqref|cref|cite[a-z]*|url|href|input|include[a-z]*)\*?(\[[^\]]*\])?\{[^}]*\}"
    r"|\\[A-Za-z]+|https?://\S+",
    r"[^\pL\pM]+",
)
"""What is removed, in this order: formulas and code; commands and addresses; everything but letters."""


def prose(texts: pa.Array) -> pa.Array:
    """The part of each text that the model sees: words with single spaces between them, at most SAMPLE characters."""
    texts = pc.utf8_slice_codeunits(texts.cast(pa.large_string()).fill_null(""), 0, LOOKED_AT)
    for pattern in NO_PROSE:
        texts = pc.replace_substring_regex(texts, pattern, " ")
    return pc.utf8_slice_codeunits(pc.utf8_trim_whitespace(texts), 0, SAMPLE)


@dataclass(frozen=True)
class Identifier:
    """A language identifier. `digest` is the SHA-256 of the model's file, or the package and its version."""

    digest: str
    languages: frozenset[str]
    name: Callable[[list[str]], list[tuple[str, float]]]

    @classmethod
    def load(cls, path: Path | None, digest: str | None = None) -> "Identifier":
        """From a fastText file, which must have `digest` if one is given, or py3langid. UserError for another file."""
        if path is None:
            return _shipped()
        model, found = load_model(path, digest)

        def name(lines: list[str]) -> list[tuple[str, float]]:
            labels, chances = model.f.multilinePredict([line.encode() + b"\n" for line in lines], 1, 0.0, "strict")
            return [(label[0].removeprefix(PREFIX), chance[0]) for label, chance in zip(labels, chances, strict=True)]

        return cls(found, frozenset(label.removeprefix(PREFIX) for label in model.get_labels()), name)

    def check(self, keep: tuple[str, ...]) -> None:
        """UserError unless all of `keep` are languages of this model."""
        if unknown := sorted(set(keep) - self.languages):
            near = [name for name in sorted(self.languages) if any(name[:2] == other[:2] for other in unknown)]
            hint = f"Write them as its labels do: {', '.join(near[:8] or sorted(self.languages)[:8])}"
            raise UserError(f"the language model does not know {', '.join(unknown)}", hint)

    def identify(self, texts: pa.Array) -> tuple[pa.Array, np.ndarray]:
        """(language, score in [0, 1]) of each text: string and float64."""
        lines = prose(texts)
        spoken = np.flatnonzero(pc.utf8_length(lines).to_numpy(zero_copy_only=False) >= LEAST)
        names, scores = np.full(len(lines), UNDETERMINED, object), np.zeros(len(lines))
        for row, (language, score) in zip(spoken, self.name(lines.take(pa.array(spoken)).to_pylist()), strict=True):
            names[row], scores[row] = language, score
        return pa.array(names, pa.string()), np.clip(scores, 0.0, 1.0).round(4)


def _shipped() -> Identifier:
    model = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    digest = f"py3langid {py3langid.__version__}"
    return Identifier(digest, frozenset(model.labels), lambda lines: [model.classify(line) for line in lines])


@dataclass(frozen=True)
class OtherLanguage:
    """The rule `other_language` as `curation.corpus.decide` applies it: pages in a language that the recipe does not
    keep."""

    settings: LanguageRecipe
    reason = DropReason.OTHER_LANGUAGE

    def broken(self, rows: pa.Table) -> pa.ChunkedArray:
        """Whether each row violates it, by its language and its score; a row without a language never does."""
        judged = pc.is_in(rows["role"], pa.array(self.settings.roles, pa.string()))
        other = pc.invert(pc.is_in(rows["language"], pa.array(self.settings.keep, pa.string())))
        doubtful = pc.less(rows["language_score"], self.settings.min_score)
        named = pc.not_equal(rows["language"], UNDETERMINED)
        return pc.and_(pc.and_(judged, named), pc.or_(other, doubtful))

    def evidence(self, rows: pa.Table) -> list[str]:
        """JSON of rows that break it."""
        limit = {"keep": list(self.settings.keep), "limit": self.settings.min_score}
        found = zip(rows["language"].to_pylist(), rows["language_score"].to_pylist(), strict=True)
        return [json.dumps({"language": language, "value": score} | limit) for language, score in found]
