"""Lines of menus and notices go, mathematics and prose stay, and what went is counted."""

import json

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curation.config import CurateRecipe
from curation.measures.boilerplate import LONGEST, remove_lines
from curation.measures.normalise import normalise
from curation.pipeline import curate
from manifests.recipe import parse

GOES = (
    "Skip to main content", "Home | About us | Contact", "Toggle navigation", "MENU", "Back to top »",
    "Log in to reply", "Login or register to post comments", "You must be logged in to post a comment.",
    "Leave a Reply Cancel reply", "3 comments",
    "Your email address will not be published. Required fields are marked *",
    "This website uses cookies to improve your experience.", "Accept all cookies", "We use cookies. Read our policy.",
    "Share this on Facebook", "Share this:", "* Twitter", "Follow us on Twitter and Facebook", "Tweet this",
    "Copyright © 2024 Example Inc.", "© 2019-2023 Example", "Example Inc. All rights reserved.",
    "Subscribe to our weekly newsletter today!", "Powered by WordPress", "Privacy Policy · Terms of Use", "[edit]",
    "Please enable JavaScript to view the comments.", "Read more", "ADVERTISEMENT", "Next post",
)  # fmt: skip
STAYS = (
    "Share 12 apples among 3 friends.", "The next post stands 5 m from the first one.", "Help", "Search",
    "Copyright law has 3 parts.", "Tom ate all cookies.", "(c) 1998 is even", "Home is where x is 0 and y is 1.",
    "Copyright © 2024 $x$", "Home = 1", "© 2020 \\alpha", "Powered by two engines, it flies 300 km/h.", "- Log out:",
    "x " * LONGEST + "all rights reserved", "## Menu of methods", "1 | 2 | 3", "Next, we prove the lemma.",
)  # fmt: skip


def cleaned(text: str) -> tuple[str, int]:
    texts, removed = remove_lines(normalise(pa.array([text], pa.large_string())))
    return texts[0].as_py(), removed[0].as_py()


@pytest.mark.parametrize("line", GOES)
def test_boilerplate_goes(line):
    assert cleaned(f"A proof.\n{line}\nThe end.") == ("A proof.\nThe end.", len(line) + 1)


@pytest.mark.parametrize("line", STAYS)
def test_prose_and_mathematics_stay(line):
    assert cleaned(f"A proof.\n{line}\nThe end.") == (f"A proof.\n{line}\nThe end.", 0)


@pytest.mark.parametrize(
    ("opening", "closing"),
    [
        ("$$", "$$"),
        ("\\[", "\\]"),
        ("\\begin{tabular}{ll}", "\\end{tabular}"),
        ("```html", "```"),
        ("$$", "never closed"),
    ],
)
def test_what_stands_inside_mathematics_or_code_is_left_alone(opening, closing):
    inside = f"{opening}\nHome\nRead more\n{closing}"
    assert cleaned(f"Read more\n{inside}")[0] == inside


def test_empty_lines_close_up_and_nulls_stay():
    texts, removed = remove_lines(pa.array(["One\n\nHome\n\nTwo", None, "Home", ""], pa.large_string()))
    assert texts.to_pylist() == ["One\n\nTwo", None, "", ""] and removed.to_pylist() == [6, 0, 4, 0]


LINES = st.lists(st.sampled_from([*GOES[:4], *STAYS[:4], "", "$$", "```", "\\begin{a}", "\\end{a}"]), max_size=12)


@settings(deadline=None)
@given(st.lists(LINES.map("\n".join), max_size=4))
def test_twice_is_once_and_alone_is_as_among_others(texts):
    batch = normalise(pa.array(texts, pa.large_string()))
    once, removed = remove_lines(batch)
    assert remove_lines(once)[0].equals(once)
    assert once.to_pylist() == [cleaned(text)[0] for text in texts]
    assert removed.equals(pc.subtract(pc.utf8_length(batch), pc.utf8_length(once)).cast(pa.int64()))


def test_a_recipe_asks_for_it_and_the_column_says_how_much(store, tokenizer, tmp_path):
    page = "Home | About | Contact\nThe sum of two even numbers is even, as 2a + 2b is 2(a + b).\nLog in to reply"
    for role in ("web", "code"):
        (tmp_path / role).mkdir()
        (tmp_path / role / "page.jsonl").write_text(json.dumps({"text": page}))
    sources = [{"name": role, "path": str(tmp_path / role), "role": role} for role in ("web", "code")]
    plain = {"name": "cleaned", "tokenizer": str(tokenizer), "sources": sources, "boilerplate_lines": "remove"}
    corpus = curate(store, parse(plain, CurateRecipe, "test"))
    taken = {row["source"]: row["boilerplate_chars"] for row in corpus.read("documents").to_pylist()}
    texts = corpus.read("texts")["text"].to_pylist()
    assert taken == {"code": 0, "web": 39}
    assert texts == [page, page.splitlines()[1]]
