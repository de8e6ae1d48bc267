r"""Worked examples that stand before a problem in few-shot prompts, written for this project; none is a benchmark item.

`SHOTS` maps a set to its examples; how they are laid out is said in `evaluation.tasks`. Their numbers are those of the
published protocol (8 for word problems, 4 for the others, 5 for GPQA), but for TabMWP, which has 4 about tables here
and the 8 of the word problems there; the texts are our own, so a score obtained with them is not the published one to
the last digit. The released texts are those of `protocol: paper` (`evaluation.protocols.released`). A test grades every
example by the rule of the tasks that show it.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Shot:
    """A problem, the reasoning, and the answer (a letter where there are `choices`)."""

    question: str
    reasoning: str
    answer: str
    choices: tuple[str, ...] | None = None


WORDS = (
    Shot(
        "A gardener plants 7 rows of tulips with 6 tulips in each row. Rabbits eat 9 of them. How many tulips "
        "are left?",
        "7 rows of 6 tulips are 7 * 6 = 42 tulips. After the rabbits ate 9, there are 42 - 9 = 33.",
        "33",
    ),
    Shot(
        "Omar has 14 marbles. His sister gives him 5 more, and then he wins 8 in a game. How many marbles has he now?",
        "Omar began with 14 marbles. With 5 more he had 14 + 5 = 19. After winning 8 he has 19 + 8 = 27.",
        "27",
    ),
    Shot(
        "A baker sells loaves for $4 each. On Monday she sold 23 loaves and on Tuesday 17. How much money did "
        "she take?",
        "She sold 23 + 17 = 40 loaves. At $4 each she took 40 * 4 = 160 dollars.",
        "160",
    ),
    Shot(
        "There were 52 books on a shelf. Students borrowed 18 in the morning and 11 in the afternoon and brought "
        "back 6. "
        "How many books are on the shelf?",
        "Students borrowed 18 + 11 = 29 books, which left 52 - 29 = 23. With the 6 brought back there are 23 + 6 = 29.",
        "29",
    ),
    Shot(
        "Nina shares 48 stickers equally among herself and her 3 friends. Then she gives half of hers away. How many "
        "stickers has Nina left?",
        "There are 1 + 3 = 4 people, so each gets 48 / 4 = 12 stickers. Half of 12 is 6, so Nina has 12 - 6 = 6.",
        "6",
    ),
    Shot(
        "A bus drives 45 kilometres in each of the first 2 hours and 30 kilometres in the third hour. How far does it "
        "drive?",
        "In the first 2 hours it drives 2 * 45 = 90 kilometres. With 30 more it drives 90 + 30 = 120.",
        "120",
    ),
    Shot(
        "Ivan earns $15 an hour. Last week he worked 6 hours on each of 5 days and spent $120. How much had he left?",
        "Ivan worked 6 * 5 = 30 hours and earned 30 * 15 = 450 dollars. He had 450 - 120 = 330 dollars left.",
        "330",
    ),
    Shot(
        "A tank holds 200 litres and is three quarters full. 35 litres are drawn off. How many litres are in the tank?",
        "Three quarters of 200 are 200 * 3 / 4 = 150 litres. After drawing off 35 there are 150 - 35 = 115.",
        "115",
    ),
)
COMPETITION = (
    Shot(
        r"Find all real numbers $t$ for which $\sqrt{3t-5}$ is defined and less than $2$. Give your answer as an "
        r"interval.",
        r"The root is defined when $3t-5\ge0$, that is $t\ge\frac{5}{3}$. It is less than $2$ when $3t-5<4$, that is "
        r"$t<3$. So $t$ lies in $\left[\frac{5}{3},3\right)$.",
        r"\left[\frac{5}{3},3\right)",
    ),
    Shot(
        r"Let $A$ be a $2\times2$ matrix with $\det A=5$. What is $\det(3A)$?",
        r"Multiplying a $2\times2$ matrix by $3$ multiplies each of its two rows by $3$, so the determinant is "
        r"multiplied "
        r"by $3^2=9$. Hence $\det(3A)=9\cdot5=45$.",
        "45",
    ),
    Shot(
        "A box holds 4 red and 6 blue balls. Two are drawn at random without replacement. What is the probability that "
        "both are red?",
        r"The first is red with probability $\frac{4}{10}$, and then the second with probability $\frac{3}{9}$. The "
        r"product is $\frac{12}{90}=\frac{2}{15}$.",
        r"\frac{2}{15}",
    ),
    Shot(
        r"If $2x+y=11$ and $x-y=1$, what is $xy$?",
        r"Adding the equations gives $3x=12$, so $x=4$ and $y=x-1=3$. Then $xy=4\cdot3=12$.",
        "12",
    ),
)
CHOICE = (
    Shot(
        r"If $5x-7=18$, what is the value of $10x$?",
        r"Adding $7$ gives $5x=25$. Doubling gives $10x=50$.",
        "C",
        ("25", "36", "50", "70"),
    ),
    Shot(
        "A jacket costs 80 dollars. Its price is first cut by 25 percent and then raised by 10 percent. What "
        "does it cost?",
        r"After the cut it costs $80\cdot0.75=60$ dollars. After the rise it costs $60\cdot1.1=66$ dollars.",
        "B",
        ("64 dollars", "66 dollars", "68 dollars", "70 dollars"),
    ),
    Shot(
        "A line passes through (0, 4) and (2, 0). What is its slope?",
        r"The slope is $\frac{0-4}{2-0}=-2$.",
        "A",
        ("-2", r"$-\frac{1}{2}$", r"$\frac{1}{2}$", "2"),
    ),
    Shot(
        "Two machines fill 90 bottles in 3 minutes at the same rate. How many bottles do four such machines fill in 5 "
        "minutes?",
        r"One machine fills $90/2=45$ bottles in 3 minutes, which is $15$ a minute. Four machines fill "
        r"$4\cdot15\cdot5=300$ bottles in 5 minutes.",
        "D",
        ("150", "200", "240", "300"),
    ),
)
SCIENCE = (
    Shot(
        "A stone is dropped from rest. Neglecting the air, how far has it fallen after 2 s? Take g = 10 m/s^2.",
        "The distance fallen from rest is g t^2 / 2 = 10 * 4 / 2 = 20 m.",
        "B",
        ("10 m", "20 m", "40 m", "80 m"),
    ),
    Shot(
        "Which of these groups has infinitely many elements?",
        "The symmetric group on four letters has 24 elements, the integers modulo 7 have 7, and the units modulo "
        "9 have 6. "
        "The integers under addition have infinitely many.",
        "D",
        (
            "The symmetric group on four letters",
            "The integers modulo 7 under addition",
            "The units modulo 9 under multiplication",
            "The integers under addition",
        ),
    ),
    Shot(
        "How many comparisons does binary search need at most in a sorted list of 1,000 entries?",
        "Each comparison halves what is left. Since 2^9 = 512 is below 1,000 and 2^10 = 1,024 is above it, 10 "
        "suffice and "
        "may be needed.",
        "A",
        ("10", "31", "100", "500"),
    ),
    Shot(
        "What is the pH of a 0.001 mol/L solution of a strong acid with one proton?",
        "A strong acid gives up all its protons, so their concentration is 10^-3 mol/L. The pH is the negative "
        "logarithm "
        "of it, 3.",
        "C",
        ("1", "2", "3", "11"),
    ),
    Shot(
        "A gene has two alleles, and both parents are heterozygous. What share of the offspring is expected to be "
        "homozygous?",
        "The offspring are AA, Aa, aA and aa with one quarter each. AA and aa are homozygous, which makes one half.",
        "B",
        ("1/4", "1/2", "3/4", "1"),
    ),
)
COURSES = (
    Shot(
        r"A spring of stiffness $200\ \mathrm{N/m}$ is compressed by $0.10\ \mathrm{m}$. What energy, in joules, "
        r"is stored "
        "in it?",
        r"The energy is $\frac{1}{2}kx^2=\frac{1}{2}\cdot200\cdot0.10^2=1.0\ \mathrm{J}$.",
        "1.0",
    ),
    Shot(
        r"Light of wavelength $600\ \mathrm{nm}$ falls on a slit. What is the energy of one photon, in joules, to two "
        r"significant digits? Use $h=6.63\times10^{-34}\ \mathrm{J\,s}$ and $c=3.00\times10^{8}\ \mathrm{m/s}$.",
        r"The energy is $\frac{hc}{\lambda}=\frac{6.63\times10^{-34}\cdot3.00\times10^{8}}{6.00\times10^{-7}}="
        r"3.3\times10^{-19}\ \mathrm{J}$.",
        r"3.3 \times 10^{-19}",
    ),
    Shot(
        r"A quantity obeys $\dot{y}=-ky$ with $y(0)=y_0$. Give $y(t)$ as an equation.",
        r"Separating variables, $\ln y=-kt+\ln y_0$, so $y=y_0e^{-kt}$.",
        r"y=y_0 e^{-k t}",
    ),
    Shot(
        r"What is the Laplace transform of $f(t)=t e^{2t}$, as an expression in $s$?",
        r"The transform of $t$ is $\frac{1}{s^2}$, and the factor $e^{2t}$ shifts $s$ by $2$. This gives "
        r"$\frac{1}{(s-2)^2}$.",
        r"\frac{1}{(s-2)^2}",
    ),
)
TABLES = (
    Shot(
        "Table: Apples picked\nDay | Apples\nMonday | 12\nTuesday | 19\nWednesday | 8\nHow many apples were "
        "picked in all?",
        "The sum is 12 + 19 + 8 = 39.",
        "39",
    ),
    Shot(
        "Table: Prices\npencil | $0.35\neraser | $0.80\nruler | $1.25\nHow much do a ruler and a pencil cost together? "
        "(unit: $)",
        "A ruler costs $1.25 and a pencil $0.35, together 1.25 + 0.35 = 1.60.",
        "1.60",
    ),
    Shot(
        "Table: Pets\nName | Pets\nAda | 2\nBen | 5\nCho | 3\nWho has the most pets?",
        "The largest number in the table is 5, which is Ben's.",
        "B",
        ("Ada", "Ben", "Cho"),
    ),
    Shot(
        "Table: Goals\nGame | Goals\n1 | 4\n2 | 2\n3 | 6\nWhat is the mean number of goals?",
        "The goals add up to 4 + 2 + 6 = 12 over 3 games, so the mean is 12 / 3 = 4.",
        "4",
    ),
)

SHOTS: dict[str, tuple[Shot, ...]] = {
    "": (),
    "words": WORDS,
    "competition": COMPETITION,
    "choice": CHOICE,
    "science": SCIENCE,
    "courses": COURSES,
    "tables": TABLES,
}
"""Sets of examples by name; the empty name is no examples."""
