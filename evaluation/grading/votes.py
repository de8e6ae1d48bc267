"""Which of the answers to one item are one vote: those that are equal among themselves, however they are written.

The reference has no part in it: 0.5, 1/2 and \\frac{1}{3} are two votes whether one of them is right or none. What
needs no algebra is compared here; of the other pairs the most frequent answers' go to the grader, up to MOST_PAIRS
for an item, so that an item of two hundred odd answers costs no minutes. Equality is taken as transitive.

Leaves out which vote wins (`evaluation.estimates`).
"""

from collections import Counter
from collections.abc import Sequence
from itertools import combinations

from evaluation.grading.answers import Grader, Verdict
from evaluation.grading.equality import decide, normalise

MOST_PAIRS = 100
"""Pairs of distinct answers to an item that algebra is asked about."""


def merged(answers: Sequence[Sequence[str | None]], grader: Grader) -> list[list[str | None]]:
    """For each item the vote of each of its answers, None for none: equal answers have the same."""
    plain = [[normalise(answer) or None if answer else None for answer in item] for item in answers]
    votes = [_Votes([answer for answer in item if answer]) for item in plain]
    asked = [(one, *pair) for one in votes for pair in one.undecided()]
    firsts, seconds = [first for _, first, _ in asked], [second for _, _, second in asked]
    for (one, first, second), grade in zip(asked, grader.grade_found(firsts, firsts, seconds), strict=True):
        if grade.verdict is Verdict.CORRECT:
            one.join(first, second)
    return [[one.vote(answer) if answer else None for answer in item] for item, one in zip(plain, votes, strict=True)]


class _Votes:
    """The distinct answers to one item, joined where they are equal."""

    def __init__(self, answers: Sequence[str]):
        self._count = Counter(answers)
        self._of = {answer: answer for answer in self._count}
        self._open: list[tuple[str, str]] = []
        for first, second in combinations([answer for answer, _ in self._count.most_common()], 2):
            ruling = decide(first, second)
            if ruling is None:
                self._open.append((first, second))
            elif ruling[0] is Verdict.CORRECT:
                self.join(first, second)

    def undecided(self) -> list[tuple[str, str]]:
        """Pairs of votes that only algebra can compare, the most frequent ones first."""
        pairs = {(self.vote(first), self.vote(second)) for first, second in self._open}
        by_count = sorted((pair for pair in pairs if pair[0] != pair[1]),
                          key=lambda pair: (-self._count[pair[0]] - self._count[pair[1]], pair))  # fmt: skip
        return by_count[:MOST_PAIRS]

    def vote(self, answer: str) -> str:
        while self._of[answer] != answer:
            answer = self._of[answer]
        return answer

    def join(self, first: str, second: str) -> None:
        self._of[self.vote(second)] = self.vote(first)
