"""Removes lines of menus and notices from pages, if a recipe asks for it.

A line is removed if all of it is one of PHRASES: skip links, menus, prompts to log in, share or subscribe, comment
counts, cookie and copyright notices, credits of the software. Promises. A line with a sign of mathematics (`$ \\ = ^ _
{ }`), one inside a displayed formula, an environment or fenced code, and one over LONGEST bytes is never removed; the
removed characters are counted; the rest is unchanged, and applying it twice changes nothing. Phrases are English and
follow C4 (Raffel et al. 2020, 2.2: policy lines, "javascript") and RefinedWeb (Penedo et al. 2023, line-wise
corrections: counters, log-ins, navigation). Leaves out what needs the page's HTML, and menus in the site's own words.
"""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curation.measures.normalise import normalise

LONGEST = 300
"""Bytes of the longest line that can be removed; longer ones are paragraphs."""
REST = r"[^$\\=^_{}]*"
"""Any words, but no mathematics."""
MENU = (
    r"home(page)?|menu|search|log ?(in|out)|sign ?(in|up|out)|register|about( us)?|contact( us)?|help|faqs?|site ?map|"
    r"privacy( (policy|statement|notice))?|cookie (policy|settings|preferences)|legal( notice)?|disclaimer|"
    r"terms( (of|and|&) (use|service|conditions))?|careers|press|blog|forums?|shop|cart|my account|account|donate|"
    r"advertise( with us)?|subscribe|rss( feed)?|archives?|news|products|services|support|next|prev(ious)?|top|"
    r"share|tweet|print|e-?mail|facebook|twitter|instagram|linkedin|pinterest|reddit|whatsapp|telegram|tumblr|youtube"
)
ALONE = (
    r"home|(main )?menu|subscribe|log ?(in|out)|sign ?(in|up|out)|log ?in or (register|sign ?up)|contact us|about us|"
    r"privacy (policy|statement|notice)|cookie (policy|settings|preferences|notice)|legal notice|my account|site ?map|"
    r"terms (of|and|&) (use|service|conditions)|facebook|twitter|instagram|linkedin|pinterest|reddit|whatsapp|tumblr"
)
SERVICE = r"(facebook|twitter|x|instagram|linkedin|pinterest|reddit|whatsapp|telegram|tumblr|e-?mail)"
PHRASES = (
    rf"({MENU})(\s*[|·•>»/–-]\s*({MENU}))+",
    ALONE,
    r"(skip|jump) to (main |primary )?(content|navigation|search|sidebar)",
    r"(toggle|show|hide|open|close) (the )?(main )?(navigation|menu|sidebar|search)",
    r"(back|return|go) to (the )?(top|home ?page|main page)( of (the )?page)?",
    r"(previous|older|newer|next) (post|page|article|entry|topic|thread)s?",
    rf"share (this|it)?( (post|article|page|story))?( ?(on|via|by|with|to):? {SERVICE}(,? (and |or )?{SERVICE})*)?",
    r"(share:?|share this:?|tweet( this)?|pin it|e-?mail this|print this( page)?|blogthis!?|copy link)",
    rf"follow (us|me)( on {SERVICE}(,? (and |or )?{SERVICE})*)?",
    r"(log|sign) ?in (or (register|sign ?up) )?to (reply|comment|vote|answer|post( (a )?(comment|reply)s?)?)",
    rf"you must (be logged in|log ?in|sign ?in|register) to (reply|comment|vote|post|leave|view){REST}",
    r"(leave|post|add|write) (a|your) (comment|reply)( cancel reply)?",
    r"(cancel reply|reply|no comments( yet)?|[0-9,]+ (comments?|replies|likes))",
    rf"(your e-?mail address will not be published|required fields are marked){REST}",
    rf"(this|our) (web)?site uses cookies{REST}",
    rf"we (and our partners )?use cookies{REST}",
    rf"by (continuing|using|browsing|visiting) {REST} cookies{REST}",
    r"(accept|reject|allow|decline|manage) (all )?cookies",
    rf"(copyright|©)\s*(\(c\)|©)?\s*[12][0-9]{{3}}{REST}",
    rf"{REST}\ball rights reserved{REST}",
    rf"(subscribe|sign ?up)( now| here)? (to|for) (our|my) {REST}(newsletter|mailing list|updates|feed|channel){REST}",
    r"enter your e-?mail( address)?( here)?",
    r"(proudly )?powered by (wordpress|blogger|drupal|joomla|mediawiki|discourse|phpbb|vbulletin|disqus|mathjax)",
    rf"click here (to|for) (download|view|see|read|print|subscribe|register|log){REST}",
    r"(read|learn|see|view|show|load) more",
    r"(advertisements?|sponsored( content)?|report this ad|loading)",
    rf"(please )?enable javascript{REST}",
    rf"javascript (is|must be|needs to be) (disabled|required|enabled){REST}",
    r"(\[ ?edit ?\]|edit this page)( on \w+)?",
)
LINE = rf"(?i)^[\s>*•·|»›-]*({'|'.join(PHRASES)})[\s|»›….!-]*$"

OPENING = (r"\\begin\{|\\\[", r"\\end\{|\\\]")
"""What opens and closes a part that is left alone, and below what does both."""
TOGGLE = r"\$\$|^\s*(```|~~~)"


def remove_lines(texts: pa.Array) -> tuple[pa.Array, pa.Array]:
    """`texts` (normalised; NULLs stay) without their boilerplate lines, and the characters taken from each (int64)."""
    texts = texts.cast(pa.large_string())
    lines = pc.split_pattern(texts, "\n")
    goes = _is_boilerplate(lines.flatten())
    owner = pc.list_parent_indices(lines).to_numpy()
    touched = np.zeros(len(texts), np.bool_)
    touched[owner[goes]] = True
    rest = pa.array(touched)
    after = normalise(_without(texts.filter(rest)))
    cleaned = pc.replace_with_mask(texts, rest, after)
    removed = pc.subtract(pc.utf8_length(texts), pc.utf8_length(cleaned)).cast(pa.int64())
    return cleaned, pc.fill_null(removed, 0)


def _is_boilerplate(lines: pa.Array) -> np.ndarray:
    """Whether each line is a phrase."""
    short = pc.less_equal(pc.binary_length(lines), LONGEST).to_numpy(zero_copy_only=False)
    places = np.flatnonzero(short)
    found = pc.match_substring_regex(lines.take(pa.array(places)), LINE).to_numpy(zero_copy_only=False)
    goes = np.zeros(len(lines), np.bool_)
    goes[places[found]] = True
    return goes


def _without(texts: pa.Array) -> pa.Array:
    """`texts`, of which each has a line to lose, without those that are not left alone."""
    lines = pc.split_pattern(texts, "\n")
    flat, owner = lines.flatten(), pc.list_parent_indices(lines).to_numpy()
    stays = ~_is_boilerplate(flat) | _inside(flat, owner)
    counts = np.bincount(owner[stays], minlength=len(texts))
    offsets = pa.array(np.concatenate([[0], np.cumsum(counts)]), pa.int64())
    kept = pa.LargeListArray.from_arrays(offsets, flat.filter(pa.array(stays)))
    return pc.binary_join(kept, pa.scalar("\n", pa.large_string()))


def _inside(lines: pa.Array, owner: np.ndarray) -> np.ndarray:
    """Whether each line stands after something opened and not yet closed in its text (`owner`)."""
    opened, closed = (_running(_count(lines, pattern), owner) for pattern in OPENING)
    toggled = _running(_count(lines, TOGGLE), owner)
    return (opened > closed) | (toggled % 2 == 1)


def _count(lines: pa.Array, pattern: str) -> np.ndarray:
    return pc.count_substring_regex(lines, pattern).to_numpy(zero_copy_only=False).astype(np.int64)


def _running(counts: np.ndarray, owner: np.ndarray) -> np.ndarray:
    """Sum of `counts` over the lines before each one in its text."""
    before = np.cumsum(counts) - counts
    first = np.searchsorted(owner, owner)
    return before - before[first]
