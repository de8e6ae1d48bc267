"""Single lines of a page: what points elsewhere goes, what is a part of the text stays."""

# ruff: noqa: E501

import pytest

from curation.reading.pages import extract

PARAGRAPH = (
    "<p>A ring is a set with two operations, and both of them are associative on every three of its elements.</p>"
)


def page(inside: str, before: str = "") -> str:
    body = f"<h1>On rings and their ideals</h1>{before}<div class='entry-content'>{PARAGRAPH}{inside}{PARAGRAPH}{PARAGRAPH}</div>"
    return extract(f"<html><head><title>On rings and their ideals</title></head><body>{body}</body></html>").text


@pytest.mark.parametrize(
    "line",
    [
        "<p>Read more: <a href='/x'>Ten fields that are no rings</a></p>",
        "<p><b>Lea también:</b> <a href='/x'>Diez anillos conmutativos</a></p>",
        "<div>More on this in <a href='/x'>our series on algebra</a></div>",
        "<a href='/x'>Back to the list of articles</a>",
        "<figure><img src='a.png'><div>A photograph of a ring, by A. Nother</div></figure>",
    ],
)
def test_lines_that_point_elsewhere_or_say_what_a_picture_is_go(line: str) -> None:
    text = page(line)
    assert text.count("A ring is a set") == 3
    assert len(text.split("\n")) <= len(page("").split("\n"))


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("<p>By <a href='/x'>the theorem of Lagrange</a> its order divides that of the group.</p>", "By the theorem of Lagrange its order"),
        ("<p>It follows from <a href='/x'>the second theorem above</a>.</p>", "It follows from the second theorem above."),
        ("<p>Proof: <a href='/x'>by the lemma of Zorn</a>, <math alttext='x^2'><mi>x</mi></math></p>", "by the lemma of Zorn"),
        ("<ul><li>Algebra: <a href='/x'>a book about many rings</a></li></ul>", "a book about many rings"),
        ("<h3>2) <a href='/x'>The ring of the integers</a></h3><p>It is ℤ.</p>", "The ring of the integers"),
        ("<pre>see: <a href='/x'>ring_of_integers(self)</a></pre>", "see: ring_of_integers(self)"),
        ("<figure><pre>R = ZZ\nI = 2*R</pre></figure>", "I = 2*R"),
        ("<figure><div>Figure 3: the lattice of ideals</div></figure>", "Figure 3: the lattice of ideals"),
        ("<p>We write R for <a class='tooltip social' href='/x'>the ring</a> of all continuous functions from the interval to itself.</p>", "for the ring of all"),
    ],
)  # fmt: skip
def test_lines_of_the_text_stay(line: str, words: str) -> None:
    assert words in page(line)


def test_tables_keep_cells_that_look_like_labels_and_pointers() -> None:
    rows = "".join(
        f"<tr><td>{n}</td><td><p>See: <a href='/x'>the group of order {n}</a></p></td></tr>" for n in range(3)
    )
    text = page(f"<table>{rows}</table>")
    assert "2\t\tSee: the group of order 2" in text


def test_labels_at_the_edges_go_and_those_within_stay() -> None:
    inside = f"<div>Two examples</div>{PARAGRAPH}<div>3 May 2021</div>"
    text = extract(f"<body><article><div>By A. Nother</div>{PARAGRAPH}{PARAGRAPH}{inside}</article></body>").text
    assert "Two examples" in text
    assert "Nother" not in text
    assert "2021" not in text


def test_a_short_text_keeps_its_labels() -> None:
    assert "By A. Nother" in extract("<body><div>By A. Nother</div><div>x = 3</div><p>Then it is 9.</p></body>").text


def test_what_stands_between_the_heading_and_the_text_is_its_lead() -> None:
    lead = "<div class='k-12'><p>Rings were first looked at by Dedekind, who wanted to know how ideals multiply and divide.</p></div>"
    assert "Dedekind" in page("", before=lead)
    site = "<p>The journal of the society, with all the news of all its members, since the year 1900.</p><h2>Ring theory</h2>"
    assert "journal" not in page("", before=site)


def test_parts_of_one_text_that_are_counted_are_all_taken() -> None:
    parts = "".join(
        f"<div class='story-body story-body-{n}'>{PARAGRAPH * n}</div><div class='ad'>Buy</div>" for n in (1, 4)
    )
    assert extract(f"<body><article>{parts}</article></body>").text.count("A ring") == 5


def test_a_page_that_is_all_for_browsers_without_scripts_is_read() -> None:
    assert "A ring" in extract(f"<body><noscript><div>{PARAGRAPH * 9}</div></noscript></body>").text
    notice = "<noscript><p>Please switch scripts on.</p></noscript>"
    assert "scripts" not in extract(f"<body><article>{PARAGRAPH * 4}{notice}</article></body>").text
