"""Pages of the built-in sample, drawn from small grammars: lessons with LaTeX, other prose, boilerplate, junk.

Worked examples hold true arithmetic. Leaves out meaning beyond the sentence; see `curation.sample.write`.
"""

import random
from collections.abc import Callable

SUBJECTS = (
    "quadratic equations", "prime numbers", "right triangles", "probability", "derivatives", "linear maps",
    "geometric series", "modular arithmetic", "complex numbers", "circles", "logarithms", "permutations",
    "polynomial division", "vectors", "integrals", "matrices", "inequalities", "graphs", "recursions", "limits",
)  # fmt: skip
MATH_NOUNS = (
    "equation", "theorem", "proof", "function", "sum", "product", "root", "coefficient", "identity", "interval",
    "remainder", "factor", "variable", "angle", "sequence", "bound", "constant", "determinant", "solution", "term",
)  # fmt: skip
ADJECTIVES = (
    "simple", "useful", "careful", "surprising", "common", "small", "general", "direct", "hidden", "familiar", "neat",
    "long", "final", "second", "similar", "elementary", "positive", "missing", "short", "standard", "first", "clear",
)  # fmt: skip
VERBS = (
    "shows", "gives", "uses", "needs", "explains", "replaces", "bounds", "simplifies", "completes", "contains",
    "extends", "proves", "checks", "separates", "describes", "measures", "repeats", "changes", "follows", "limits",
)  # fmt: skip
READERS = ("students", "teachers", "beginners", "engineers", "readers", "most people", "children", "many authors")
SETTINGS = (
    "in the classroom", "on paper", "after some practice", "without a calculator", "at first sight", "by hand",
    "in every textbook", "over the real numbers", "for large values", "near zero", "in the worst case", "step by step",
)  # fmt: skip
TOPICS = (
    "the harbour", "a mountain village", "winter vegetables", "old bicycles", "the night train", "wild honey",
    "a wooden boat", "street markets", "the town library", "desert birds", "paper lanterns", "sourdough bread",
    "river ferries", "a chess club", "rooftop gardens", "the weather station", "hand-made shoes", "a film festival",
)  # fmt: skip
THINGS = (
    "garden", "kitchen", "journey", "story", "neighbour", "market", "painter", "harvest", "bridge", "recipe", "island",
    "teapot", "letter", "window", "orchestra", "forest", "museum", "traveller", "festival", "workshop", "lantern",
)  # fmt: skip
QUALITIES = (
    "quiet", "bright", "wooden", "forgotten", "warm", "crowded", "ancient", "gentle", "salty", "narrow", "cheerful",
    "famous", "dusty", "green", "patient", "early", "distant", "broken", "golden", "curious", "windy", "slow",
)  # fmt: skip
ACTIONS = (
    "remembers", "welcomes", "follows", "paints", "repairs", "visits", "crosses", "cooks for", "listens to", "borrows",
    "carries", "watches", "guards", "surprises", "photographs", "feeds", "leaves", "invites", "describes", "avoids",
)  # fmt: skip
TIMES = (
    "every spring", "before sunrise", "on market days", "after the rain", "since childhood", "at the end of summer",
    "during the long winter", "on Sunday afternoons", "once a year", "late at night", "when guests arrive", "at noon",
)  # fmt: skip
MENUS = (
    "We use cookies to improve your experience.", "Accept all cookies.", "Subscribe to our newsletter.", "Log in",
    "Sign up", "All rights reserved.", "Terms of use", "Privacy policy", "Share on Facebook",
    "Click here to read more.", "Add to cart", "Follow us on Twitter", "Copyright 2019.", "Back to top",
    "Forgot your password?", "Contact us",
)  # fmt: skip

Draw = random.Random


def _noun(draw: Draw) -> str:
    return f"{draw.choice(ADJECTIVES)} {draw.choice(MATH_NOUNS)}"


def _thing(draw: Draw) -> str:
    return f"{draw.choice(QUALITIES)} {draw.choice(THINGS)}"


def _claim(draw: Draw) -> str:
    """A sentence about mathematics; some 10^8 of them."""
    match draw.randrange(5):
        case 0:
            return f"The {_noun(draw)} {draw.choice(VERBS)} a {_noun(draw)} {draw.choice(SETTINGS)}."
        case 1:
            return f"For {draw.choice(READERS)}, a {_noun(draw)} {draw.choice(VERBS)} the {_noun(draw)}."
        case 2:
            return f"{draw.choice(SETTINGS).capitalize()}, every {_noun(draw)} {draw.choice(VERBS)} its {_noun(draw)}."
        case 3:
            return (
                f"Notice how the {_noun(draw)} {draw.choice(VERBS)} each {_noun(draw)}, as {draw.choice(READERS)} know."
            )
        case _:
            return f"If the {_noun(draw)} {draw.choice(VERBS)} some {_noun(draw)}, then the {_noun(draw)} does too."


def _remark(draw: Draw) -> str:
    """A sentence about anything else."""
    match draw.randrange(4):
        case 0:
            return f"The {_thing(draw)} {draw.choice(ACTIONS)} a {_thing(draw)} {draw.choice(TIMES)}."
        case 1:
            return f"{draw.choice(TIMES).capitalize()}, the {_thing(draw)} {draw.choice(ACTIONS)} the {_thing(draw)}."
        case 2:
            return f"Nobody knows why a {_thing(draw)} {draw.choice(ACTIONS)} that {_thing(draw)}."
        case _:
            return f"My {_thing(draw)} still {draw.choice(ACTIONS)} our {_thing(draw)}, and the {_thing(draw)} as well."


def _quadratic(draw: Draw) -> str:
    first, second = draw.randint(-12, 12), draw.randint(-12, 12)
    middle, last = -(first + second), first * second
    return (
        f"Solve $x^2 {middle:+d}x {last:+d} = 0$. The discriminant is ${middle}^2 - 4 \\cdot ({last}) = "
        f"{middle * middle - 4 * last}$, so $x = {first}$ or $x = {second}$."
    )


def _derivative(draw: Draw) -> str:
    factor, power, slope = draw.randint(2, 12), draw.randint(2, 9), draw.randint(1, 30)
    return (
        f"Let $f(x) = {factor}x^{{{power}}} + {slope}x$. By the power rule\n"
        f"\\[ f'(x) = {factor * power}x^{{{power - 1}}} + {slope}. \\]\n"
        f"At $x = 1$ the slope is ${factor * power + slope}$."
    )


def _triangle(draw: Draw) -> str:
    m, n = draw.randint(2, 12), 1
    n = draw.randint(1, m - 1)
    a, b, c = m * m - n * n, 2 * m * n, m * m + n * n
    root = f"\\sqrt{{{a}^2 + {b}^2}} = \\sqrt{{{c * c}}} = {c}"
    return f"A right triangle with legs ${a}$ and ${b}$ has hypotenuse ${root}$."


def _fraction(draw: Draw) -> str:
    a, b, c, d = (draw.randint(2, 15) for _ in range(4))
    return f"Adding fractions: $\\frac{{{a}}}{{{b}}} + \\frac{{{c}}}{{{d}}} = \\frac{{{a * d + b * c}}}{{{b * d}}}$."


def _series(draw: Draw) -> str:
    n = draw.randint(5, 120)
    formula = f"\\sum_{{k=1}}^{{{n}}} k = \\frac{{{n} \\cdot {n + 1}}}{{2}} = {n * (n + 1) // 2}"
    return f"The sum ${formula}$ needs no long addition."


def _remainder(draw: Draw) -> str:
    a, b = draw.randint(50, 999), draw.randint(3, 40)
    return f"Divide ${a}$ by ${b}$: ${a} = {a // b} \\cdot {b} + {a % b}$, hence ${a} \\equiv {a % b} \\pmod{{{b}}}$."


EXAMPLES: tuple[Callable[[Draw], str], ...] = (_quadratic, _derivative, _triangle, _fraction, _series, _remainder)


def math_page(draw: Draw) -> str:
    """A lesson: title, paragraphs of prose, worked examples."""
    parts = [f"{draw.choice(ADJECTIVES).capitalize()} notes on {draw.choice(SUBJECTS)}"]
    for number in range(draw.randint(2, 4)):
        parts.append(" ".join(_claim(draw) for _ in range(draw.randint(2, 5))))
        parts.append(f"Example {number + 1}. {draw.choice(EXAMPLES)(draw)}")
    return "\n\n".join(parts)


def general_page(draw: Draw) -> str:
    """Prose without mathematics."""
    parts = [f"A page about {draw.choice(TOPICS)} and {draw.choice(TOPICS)}"]
    parts += [" ".join(_remark(draw) for _ in range(draw.randint(3, 6))) for _ in range(draw.randint(2, 4))]
    return "\n\n".join(parts)


def template_page(draw: Draw, number: int) -> str:
    """A worksheet; the n-th differs from every other in its numbers alone, so none is a duplicate of another."""
    price, people, hours = 11 + number, draw.randint(2, 90), draw.randint(2, 24)
    total = price * people * hours
    return (
        "Worksheet: hiring boats at the lake\n\nA group of friends wants to hire boats for the afternoon, and the "
        "owner of the lake asks for the same price from everybody. One hour costs "
        f"${price}$ coins for each person. There are ${people}$ friends in the group and they stay on the water for "
        f"${hours}$ hours before they row back to the shore. How many coins does the whole group have to pay to the "
        "owner at the end of the day?\n\nSolution. First multiply the price by the number of friends, then multiply "
        "what you get by the number of hours that they stay: "
        f"$${price} \\cdot {people} \\cdot {hours} = {total}.$$ So the group has to pay ${total}$ coins at the end "
        "of the day."
    )


def boilerplate_page(draw: Draw) -> str:
    """Menus and notices, with a sentence or two lost among them."""
    lines = [draw.choice(MENUS) for _ in range(draw.randint(8, 20))]
    lines.insert(draw.randrange(len(lines)), _remark(draw))
    return "\n".join(lines)


def poor_page(draw: Draw) -> str:
    """Text not worth learning from: a stub, a loop, a table of symbols, or a web page without mathematics."""
    match draw.randrange(4):
        case 0:
            return _claim(draw)[: draw.randint(4, 24)]
        case 1:
            return " ".join([_claim(draw)] * draw.randint(15, 40))
        case 2:
            return "\n".join(
                " | ".join(draw.choices(("###", "***", "=====", "»»", "••", "n/a", "--->"), k=8)) for _ in range(9)
            )
        case _:
            return general_page(draw)
