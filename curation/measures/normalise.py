"""Normalised text: the text of documents, of which digests are computed and which models read.

In order: encoding repaired where it shows the marks of wrong decoding (ftfy's heuristic); control characters,
zero-width ones, marks of direction and MathML's invisible operators removed; Unicode NFC; line ends, page breaks among
them, as \\n; spaces of any width made spaces; trailing blanks and more than one empty line in a row removed; ends
stripped. Indentation, LaTeX, signs of mathematics, joiners that Persian and Indic scripts are spelled with (U+200C,
U+200D), the ideographic space and everything else stay. Applying it twice changes nothing (tested). Works on Arrow
columns; most ASCII text needs no change and is only checked. For code only `line_ends` is applied, because its blanks,
empty lines and unusual characters have a meaning. Lines of menus and notices are `curation.measures.boilerplate`'s.
"""

import ftfy
import numba
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curation.measures.words import utf8

MOJIBAKE = r"[ÂÃÅÐâ][\x{0080}-\x{00BF}\x{0152}-\x{2122}]|â€|ï»¿|Ã."
"""UTF-8 read as Latin-1 or Windows-1252 leaves these pairs; only texts with one are given to ftfy."""

INVISIBLE = (
    r"\x1B\[[0-9;]*[A-Za-z]|[\x00-\x08\x0E-\x1F\x7F-\x{0084}\x{0086}-\x{009F}\x{00AD}\x{061C}\x{200B}\x{200E}\x{200F}"
    r"\x{202A}-\x{202E}\x{2060}-\x{2064}\x{2066}-\x{2069}\x{FEFF}]"
)
SPACES = (
    (r"\r\n?|[\x0B\x0C\x{0085}\x{2028}\x{2029}]", "\n"),
    (r"[\x{00A0}\x{1680}\x{2000}-\x{200A}\x{202F}\x{205F}]", " "),
    (r"[ \t]+\n", "\n"),
    (r"\n{3,}", "\n\n"),
    (r"^\s+|\s+$", ""),
)
PASSES = 4
"""A repair can uncover another fault; a text that still changes after this many passes is left as it is."""


def normalise(texts: pa.Array) -> pa.Array:
    """`texts` (string, NULLs stay) normalised."""
    texts = texts.cast(pa.large_string())
    rough = pa.array(_rough(*utf8(texts)))
    if not rough.true_count:
        return texts
    return pc.replace_with_mask(texts, rough, _normalised(texts.filter(rough)))


def line_ends(texts: pa.Array) -> pa.Array:
    """`texts` (string, NULLs stay) with \\n for every line end, and byte for byte the same beside that."""
    return pc.replace_substring_regex(texts.cast(pa.large_string()), r"\r\n?", "\n")


def _normalised(texts: pa.Array) -> pa.Array:
    texts = _cleaned(_repaired(texts))
    for _ in range(PASSES):
        suspect = _suspect(texts)
        before = texts.filter(suspect)
        after = _cleaned(_repaired(before))
        if after.equals(before):
            break
        texts = pc.replace_with_mask(texts, suspect, after)
    return texts


@numba.njit(cache=True, nogil=True)
def _rough(data, offsets):
    """Whether anything may be to do for each text: other bytes than printable ASCII, tab and \\n, a blank before \\n,
    three \\n in a row, or space at either end."""
    out = np.zeros(len(offsets) - 1, np.bool_)
    for text in range(len(offsets) - 1):
        before, line_ends = np.uint8(0), 0
        for place in range(offsets[text], offsets[text + 1]):
            byte = data[place]
            if byte > 32 and byte < 127:
                line_ends = 0
            elif byte == 10:
                line_ends += 1
                if before == 32 or before == 9 or line_ends > 2:
                    out[text] = True
                    break
            elif byte == 32 or byte == 9:
                line_ends = 0
            else:
                out[text] = True
                break
            before = byte
        if offsets[text + 1] > offsets[text]:
            out[text] |= data[offsets[text]] <= 32 or data[offsets[text + 1] - 1] <= 32
    return out


def _suspect(texts: pa.Array) -> pa.Array:
    return pc.fill_null(pc.match_substring_regex(texts, MOJIBAKE), False)


def _repaired(texts: pa.Array) -> pa.Array:
    """Repair wrongly decoded texts; the others are not processed in Python. Comes before cleaning, which would remove
    the control characters and no-break spaces that half of a wrongly decoded letter looks like."""
    suspect = _suspect(texts)
    fixed = [ftfy.fix_encoding(text) for text in texts.filter(suspect).to_pylist()]
    return pc.replace_with_mask(texts, suspect, pa.array(fixed, pa.large_string())) if fixed else texts


def _cleaned(texts: pa.Array) -> pa.Array:
    """What follows the repair. What is invisible goes before NFC: it can stand between a letter and its accent."""
    texts = pc.utf8_normalize(pc.replace_substring_regex(texts, INVISIBLE, ""), form="NFC")
    for pattern, replacement in SPACES:
        texts = pc.replace_substring_regex(texts, pattern, replacement)
    return texts
