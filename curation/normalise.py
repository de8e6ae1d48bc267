"""Normalised text: what documents hold, digests are taken of, and models read.

In order: encoding repaired where it shows the marks of wrong decoding (ftfy's heuristic), control and zero-width
characters removed, Unicode NFC, line ends as \\n, no-break spaces made spaces, trailing blanks and more than one empty
line in a row removed, ends stripped. Indentation, LaTeX and everything else stay. Applying it twice changes nothing
(tested). Works on Arrow columns. Leaves out boilerplate lines and language.
"""

import ftfy
import pyarrow as pa
import pyarrow.compute as pc

MOJIBAKE = r"[ÂÃÅÐâ][\x{0080}-\x{00BF}\x{0152}-\x{2122}]|â€|ï»¿|Ã."
"""UTF-8 read as Latin-1 or Windows-1252 leaves these pairs; only texts with one are given to ftfy."""

INVISIBLE = r"[\x00-\x08\x0B\x0C\x0E-\x1F\x7F-\x{0084}\x{0086}-\x{009F}\x{00AD}\x{200B}\x{2060}\x{FEFF}]"
SPACES = (
    (r"\r\n?|\x{2028}|\x{2029}|\x{0085}", "\n"),
    (r"[\x{00A0}\x{2007}\x{202F}]", " "),
    (r"[ \t]+\n", "\n"),
    (r"\n{3,}", "\n\n"),
    (r"^\s+|\s+$", ""),
)
PASSES = 4
"""A repair can uncover another fault; a text that still changes after so many passes is left as it then is."""


def normalise(texts: pa.Array) -> pa.Array:
    """`texts` (string, NULLs stay) normalised."""
    texts = _cleaned(_repaired(texts.cast(pa.large_string())))
    for _ in range(PASSES):
        suspect = _suspect(texts)
        before = texts.filter(suspect)
        after = _cleaned(_repaired(before))
        if after.equals(before):
            break
        texts = pc.replace_with_mask(texts, suspect, after)
    return texts


def _suspect(texts: pa.Array) -> pa.Array:
    return pc.fill_null(pc.match_substring_regex(texts, MOJIBAKE), False)


def _repaired(texts: pa.Array) -> pa.Array:
    """Wrongly decoded texts set right; the others are not looked at in Python. Comes before cleaning, which would take
    away the control characters and no-break spaces that half of a wrongly decoded letter looks like."""
    suspect = _suspect(texts)
    fixed = [ftfy.fix_encoding(text) for text in texts.filter(suspect).to_pylist()]
    return pc.replace_with_mask(texts, suspect, pa.array(fixed, pa.large_string())) if fixed else texts


def _cleaned(texts: pa.Array) -> pa.Array:
    """What follows the repair. What is invisible goes before NFC: it can stand between a letter and its accent."""
    texts = pc.utf8_normalize(pc.replace_substring_regex(texts, INVISIBLE, ""), form="NFC")
    for pattern, replacement in SPACES:
        texts = pc.replace_substring_regex(texts, pattern, replacement)
    return texts
