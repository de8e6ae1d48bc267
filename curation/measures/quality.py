"""Quality rules that respect mathematics: scores of every document, and limits on them.

Stock web rules drop nearly all LaTeX (alphabetic ratio, braces), so symbols count only outside of mathematics. Scores:

    words          words of `curation.measures.words`: runs of letters, numbers, operators
    boilerplate    phrases of menus and notices per word
    symbol_ratio   symbols outside of $…$, \\[…\\], \\(…\\) and environments, per word
    repetition     share of 5-word runs that occurred before in the text and hold three different words, so that truth
                   tables, matrices and ruled lines do not count; 0 below 20 runs
    loop           share of the words that continue a passage, of any length, that occurs five times or more
                   without a break; 40 words at least, 400 if only numbers and operators (a zero matrix is not a loop)
    math_density   share of the text that is formulas ($…$ and the like), plus, per word: what stands in equations of
                   plain text (x = 3, 2 + 2 = 4), mathematical signs, LaTeX commands outside of formulas, and
                   mathematical terms, those that ordinary pages use as well counting a quarter; at most 1. A figure
                   alone, a date, a price, a hyphen, a rule of ==== is not mathematics

Each of RULES gives its reason and the rule that it follows; `manifests.drop_reasons` has the order of precedence.
`python -m benchmarks.quality` shows what they drop from documents of your own. Leaves out classifiers, which are
columns like these; loops whose passages differ in a number (a list of multiples is one); and loops within one word.
"""

import json
from dataclasses import dataclass

import numba
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curation.config import QualityRecipe
from curation.measures.words import NUMBER, OPERATOR, WORD, Words, shingles, split
from curation.roles import PROSE, Role
from manifests.drop_reasons import DropReason


@dataclass(frozen=True)
class Limit:
    """A limit as `curation.corpus.decide` applies it: a document of one of `roles` whose `score` lies under `least` or
    over `most` is dropped as `reason`."""

    reason: DropReason
    score: str
    roles: tuple[Role, ...]
    least: float | None = None
    most: float | None = None
    digits: int = 4

    def broken(self, rows: pa.Table) -> pa.ChunkedArray:
        """Whether each row violates it. A score that is NULL never does."""
        score = rows[self.score]
        beyond = pc.less(score, self.least) if self.least is not None else pc.greater(score, self.most)
        return pc.and_(pc.is_in(rows["role"], pa.array(self.roles, pa.string())), pc.fill_null(beyond, False))

    def evidence(self, rows: pa.Table) -> list[str]:
        """JSON of rows that violate it: the rounded score and the limit."""
        limit = self.most if self.least is None else self.least
        values = (round(value, self.digits) for value in rows[self.score].to_pylist())
        return [json.dumps({"score": self.score, "value": value, "limit": limit}) for value in values]


@dataclass(frozen=True)
class Rule:
    """A reason to drop a document: `score` beyond the recipe's `limit`, for documents of `roles`."""

    name: DropReason
    score: str
    limit: str
    roles: tuple[Role, ...]
    why: str
    follows: str

    def of(self, quality: QualityRecipe) -> Limit:
        """The rule with the recipe's limit."""
        bound = "least" if self.limit.startswith("min") else "most"
        return Limit(self.name, self.score, self.roles, **{bound: getattr(quality, self.limit)})


ALL_BUT_RL: tuple[Role, ...] = ("web", "qa", "long_cot", "instruct", "code", "general")
RULES = (
    Rule(
        DropReason.TOO_SHORT, "words", "min_words", PROSE,
        "Titles, error pages and stubs teach nothing.",
        "Gopher (Rae et al. 2021, A1.1) asks for 50 words; a problem with its solution is often shorter.",
    ),
    Rule(
        DropReason.BOILERPLATE, "boilerplate", "max_boilerplate", PROSE,
        "The page is menus, notices and prompts to subscribe.",
        "C4 (Raffel et al. 2020, 2.2) removes lines with such phrases; here their share counts, and lines stay.",
    ),
    Rule(
        DropReason.SYMBOLS, "symbol_ratio", "max_symbol_ratio", PROSE,
        "Markup, tables and lists of links that the extraction left.",
        "Gopher's symbol-to-word ratio of 0.1, with more symbols and none of those in mathematics.",
    ),
    Rule(
        DropReason.NOT_MATHEMATICAL, "math_density", "min_math_density", ("web",),
        "The page has no mathematics.",
        "OpenWebMath (Paster et al. 2023) keeps pages with LaTeX or a maths score; a classifier is finer.",
    ),
    Rule(
        DropReason.LOOP, "loop", "max_loop", ALL_BUT_RL,
        "A model that wrote or rewrote the text fell into a loop, often to the end of the text.",
        "Degeneration (Holtzman et al. 2020), seen in MegaMath-Web-Pro-Max; five in a row as in OctoThinker's reward.",
    ),
    Rule(
        DropReason.REPETITION, "repetition", "max_repetition", ALL_BUT_RL,
        "The same sentences over and over.",
        "Gopher's duplicate n-grams (0.15 of the characters for 5-grams); derivations repeat more, so 0.6.",
    ),
)  # fmt: skip
SCORES = ("words", "boilerplate", "symbol_ratio", "repetition", "loop", "math_density")

BOILERPLATE = "(?i)" + "|".join(
    (
        r"(use|accept|all|our) cookies", r"cookie (policy|settings)", r"subscribe to", r"our newsletter", r"\blog in\b",
        r"\bsign (in|up)\b", r"all rights reserved", r"terms of (use|service)", r"privacy policy", r"share on \w+",
        r"follow us", r"click here", r"read more", r"add to cart", r"back to top", r"forgot your password",
        r"contact us", r"copyright (\(c\)|©|\d{4})", r"\bsitemap\b",
    )
)  # fmt: skip
MATHEMATICS = "(?s)" + "|".join(
    (
        r"\$\$.*?\$\$",
        r"\$[^$\n]*[\\^_={}<>][^$\n]*\$",
        r"\$[^$\s]{0,23}[A-Za-z0-9)\]'|!]\$",
        r"\$[A-Za-z]([^A-Za-z$\n][^$\n]{0,60})?\$",
        r"\\\[.*?\\\]|\\\(.*?\\\)|\\begin\{\w+\*?\}.*?\\end\{\w+\*?\}",
    )
)
"""Formulas. Between two `$` there is a sign of LaTeX, no space, or a letter first: `$5 or $10` is a price."""
SYMBOLS = r"[#|~@&»«•►…■◦→]|={3,}|\*{3,}|_{3,}|-{3,}"
COMMAND = (
    r"\\(frac|dfrac|tfrac|sqrt|sum|prod|int|lim|infty|partial|nabla|cdot|cdots|ldots|times|div|pm|leq?|geq?|neq?|equiv"
    r"|approx|cong|sim|subset|subseteq|cup|cap|in|notin|forall|exists|to|rightarrow|Rightarrow|iff|mapsto|circ|oplus"
    r"|otimes|alpha|beta|gamma|Gamma|delta|Delta|epsilon|varepsilon|zeta|eta|theta|Theta|kappa|lambda|Lambda|mu|nu|xi"
    r"|pi|Pi|rho|sigma|Sigma|tau|phi|Phi|varphi|chi|psi|Psi|omega|Omega|mathbb|mathbf|mathcal|mathrm|mathfrak|mathit"
    r"|operatorname|overline|underline|widehat|widetilde|binom|left|right|langle|rangle|lfloor|rfloor|lceil|rceil|sin"
    r"|cos|tan|log|ln|exp|min|max|sup|inf|gcd|det|dim|ker|mod|pmod|bmod|boxed|vec|hat|bar|dots|quad|prime|emptyset"
    r"|setminus|mid|parallel|perp|angle|triangle|wedge|vee|neg|lnot|ell|hbar|Re|Im)\b"
)
"""Commands of LaTeX for mathematics; `\\n` of a program and `C:\\Users` are none."""
TERMS = [
    "abelian affine algebra algebraic algebraically algebras antiderivative arccos arcsin arctan arithmetic "
    "associative asymptotic automorphism automorphisms axiom axioms bernoulli bijection bijective binomial boolean "
    "calculus cardinality cauchy coefficient coefficients collinear combinatorial combinatorics commutative "
    "commutator commutators compactness congruence congruent conjecture conjugate conjugates continuity converge "
    "convergence convergent converges convex convolution coordinate coordinates coprime corollary cosets cosine "
    "countable covariance cubic cyclic decimal decimals denominator denominators denote denoted denotes derivative "
    "derivatives determinant diagonal differentiable differential differentiate differentiation digit digits "
    "dirichlet discriminant disjoint diverges dividend divisibility divisible divisor divisors eigenvalue "
    "eigenvalues eigenvector eigenvectors ellipse elliptic endomorphism epsilon equation equations equilateral "
    "equivalence euclidean euler evaluates exponent exponential exponents factorial factorization factorizations "
    "fermat fibonacci finitely formula formulae formulas fourier fraction fractions function functions functor "
    "galois gamma gaussian gcd geometric graphs harmonic hermitian hilbert holomorphic homogeneous homology "
    "homomorphism homomorphisms hyperbola hyperbolic hypotenuse idempotent iff inequalities inequality infimum "
    "infinity injective integer integers integrable integral integrals integrand invertible irrational irreducible "
    "isomorphic isomorphism isomorphisms isosceles iterate jacobian kernel lagrange lambda laplace laplacian "
    "lattice lcm legendre lemma lemmas linear linearly logarithm logarithmic logarithms manifold manifolds "
    "mathematical mathematician mathematics matrices matrix median meromorphic midpoint minimal modulo modulus "
    "monoid monomial monomials monotone morphism morphisms multiplication multiplicative multiplicity multiply "
    "multiplying nilpotent nonempty nonnegative nontrivial nonzero norm numerator numerators numeric numerical "
    "ordinal orthogonal orthonormal parabola parallelogram parentheses permutation permutations perpendicular pi "
    "polygon polygons polyhedra polyhedron polynomial polynomials precalculus predicate primes probabilities "
    "probability projective propositional pythagorean quadratic quadrilateral quantifier quotient radians radical "
    "radicals rational rationals real-valued reals rectangle recurrence recursion recursive remainder residue "
    "riemann scalar scalars sequences simplify sine singular solvable sqrt squarefree subalgebra subgroup subgroups "
    "submatrix subset subsets subspace subspaces subtract subtracting subtraction summation supremum surjective "
    "symmetric tangent taylor tensor theorem theorems theta topological topology totient transpose triangle "
    "triangles triangular trigonometric trigonometry tuple tuples unary uncountable variable variables variance "
    "vector vectors vertex vertices zeta"
]
COMMON_TERMS = [
    "absolute angle angles approximately approximation arbitrary area argument arguments arrange average axis base "
    "binary bound bounded bounds circle circles closed compact complex compute computed computes computing "
    "condition conditions connected consecutive consider constant constants contained contains continuous "
    "correlation count cube curve curves cycle cycles data define defined defines definition degree degrees dense "
    "density derive determine deviation diameter difference dimension dimensional dimensions discrete distance "
    "distinct distribution divide divided divides division domain edge edges element elements equal equality equals "
    "equivalent error estimate evaluate even exactly example exercise exist existence exists expected expression "
    "expressions factor factors field find finite follows form generator generators geometry given graph greater "
    "grid group groups hence holds hypothesis ideal identity imaginary implies index induction infinite infinitely "
    "intersection interval intervals inverse length less let limit limits line lines list maximal maximum mean "
    "measure method metric minimum model module multiple multiples negative node normal notation number numbers "
    "obtain odd open operation operations operator operators order origin output pair pairs parallel parameter "
    "parameters partial partition path plane plot point points positive power powers precision prime problem "
    "product products proof proofs property proposition prove proved quantity radius random range rank rate ratio "
    "real regression relation remark representation respectively result return returned returns ring root roots row "
    "rule sample satisfied satisfies satisfy satisfying sequence series set sets slope smallest solution solutions "
    "solve solving space spaces specified sphere square squares statistics step strictly string structure sum sums "
    "suppose surface symmetry term terms therefore thus transform transformation trivial true unique unit value "
    "values volume weight whenever where zero zeros"
]
COMMON_WEIGHT = 0.25
"""Of a term that ordinary pages use as well."""
LETTERS = [
    "a b c d e f g h i j k l m n o p q r s t u v w x y z dx dy dt sin cos tan log ln exp mod "
    "α β γ δ ε ζ η θ ι κ λ μ ν ξ π ρ σ τ φ χ ψ ω Γ Δ Θ Λ Σ Φ Ψ Ω"
]
JOINING, RELATING = ["- / * − × ÷ ⋅ ∗ ∕ ∼"], ["= + ^ < >"]
"""Operators: those that are hyphens, slashes, bullets and sizes in other texts, and those that make an equation."""
TERM_BITS = 16


def _hashes(words: list[str]) -> np.ndarray:
    return np.unique(split(words).hashes)


def _weights(*groups: tuple[list[str], float]) -> tuple[np.ndarray, np.ndarray]:
    """Hashes of words, sorted, and the weight of each."""
    found = [(value, weight) for words, weight in groups for value in _hashes(words).tolist()]
    return np.array([value for value, _ in sorted(found)], np.uint64), np.array([w for _, w in sorted(found)])


TERM_HASHES, TERM_WEIGHTS = _weights((TERMS, 1.0), (COMMON_TERMS, COMMON_WEIGHT))
LETTER_HASHES, JOINING_HASHES, RELATING_HASHES = _hashes(LETTERS), _hashes(JOINING), _hashes(RELATING)
PLAIN_OPERATORS = _hashes(["% !", *JOINING, *RELATING])


def _table_of(*groups: np.ndarray) -> np.ndarray:
    """By the upper bits of a hash: 499 words in 500 are recognised as not in `groups` without a search."""
    table = np.zeros(1 << TERM_BITS, np.bool_)
    for hashes in groups:
        table[hashes >> np.uint64(64 - TERM_BITS)] = True
    return table


MAY_BE_TERM, MAY_BE_LETTER = _table_of(TERM_HASHES), _table_of(LETTER_HASHES)
RUN_WORDS, LEAST_RUNS, LEAST_DIFFERENT = 5, 20, 3
LOOP_TIMES, LOOP_LEAST, LOOP_LEAST_NUMBERS = 5, 40, 400
FORMULA = "\x01"
"""Stands for a formula while symbols are counted; no normalised text has it."""


def scores(texts: pa.Array, words: Words) -> dict[str, np.ndarray]:
    """Each of SCORES for each text, float64. A formula that changes needs a new `curation.tasks.RULES_VERSION`, and a
    new limit the default None: tests/test_identity_pins.py says when either was forgotten."""
    per_word = 1.0 / np.maximum(words.counts, 1)
    prose = pc.replace_substring_regex(texts, MATHEMATICS, FORMULA)
    length = _numbers(pc.binary_length(texts))
    formulas = 1.0 - _numbers(pc.binary_length(prose)) / np.maximum(length, 1)
    commands = _found(prose, COMMAND)
    repetition, loop = _repetition(words)
    return {
        "words": words.counts.astype(np.float64),
        "boilerplate": _found(texts, BOILERPLATE) * per_word,
        "symbol_ratio": _found(prose, SYMBOLS) * per_word,
        "repetition": repetition,
        "loop": loop,
        "math_density": np.clip(formulas + (commands + _mathematical(words)) * per_word, 0.0, 1.0),
    }


def _numbers(counts: pa.Array) -> np.ndarray:
    return counts.to_numpy(zero_copy_only=False).astype(np.float64)


def _found(texts: pa.Array, pattern: str) -> np.ndarray:
    return _numbers(pc.count_substring_regex(texts, pattern))


def _mathematical(words: Words) -> np.ndarray:
    """Words of each text that are mathematics: in equations, signs by themselves, terms by their weight."""
    weight = np.zeros(len(words.hashes) + 1)
    places = np.flatnonzero(MAY_BE_TERM[words.hashes >> np.uint64(64 - TERM_BITS)])
    found = np.minimum(np.searchsorted(TERM_HASHES, words.hashes[places]), len(TERM_HASHES) - 1)
    weight[places] = np.where(TERM_HASHES[found] == words.hashes[places], TERM_WEIGHTS[found], 0.0)
    _mark_equations(_kinds_in_equations(words), words.offsets, weight)
    running = np.concatenate([[0.0], np.cumsum(weight[:-1])])
    return running[words.offsets[1:]] - running[words.offsets[:-1]]


_OTHER, _FIGURE, _SYMBOL, _JOINS, _RELATES, _ALONE = range(6)


def _kinds_in_equations(words: Words) -> np.ndarray:
    """What each word may be in an equation: a figure, a letter or the like, an operator of either kind, a sign."""
    kinds = np.where(words.kinds == NUMBER, np.uint8(_FIGURE), np.uint8(_OTHER))
    places = np.flatnonzero(MAY_BE_LETTER[words.hashes >> np.uint64(64 - TERM_BITS)])
    kinds[places[np.isin(words.hashes[places], LETTER_HASHES)]] = _SYMBOL
    operators = np.flatnonzero(words.kinds == OPERATOR)
    hashes = words.hashes[operators]
    kinds[operators[~np.isin(hashes, PLAIN_OPERATORS)]] = _ALONE
    kinds[operators[np.isin(hashes, JOINING_HASHES)]] = _JOINS
    kinds[operators[np.isin(hashes, RELATING_HASHES)]] = _RELATES
    return kinds


@numba.njit(cache=True, nogil=True)
def _mark_equations(kinds, offsets, weight):
    """1 for every sign, and for every word of a run in which figures or letters take turns with operators, at least one
    of them one that makes an equation."""
    for text in range(len(offsets) - 1):
        place, stop = offsets[text], offsets[text + 1]
        while place < stop:
            if kinds[place] == _ALONE:
                weight[place] = 1.0
            if kinds[place] != _FIGURE and kinds[place] != _SYMBOL:
                place += 1
                continue
            end, related = place + 1, False
            while end + 1 < stop and kinds[end] >= _JOINS and 0 < kinds[end + 1] < _JOINS:
                related |= kinds[end] != _JOINS
                end += 2
            if related:
                weight[place:end] = 1.0
            place = end


def repetition(texts: pa.Array) -> np.ndarray:
    """Share of each text that repeats itself, float64: the larger of its scores repetition and loop."""
    return np.maximum(*_repetition(split(texts)))


def _repetition(words: Words) -> tuple[np.ndarray, np.ndarray]:
    """(repetition, loop) of each text."""
    runs = shingles(words.hashes, words.offsets, RUN_WORDS)
    return _repeated_shares(runs.hashes, runs.offsets, words.hashes, words.kinds == WORD, words.offsets)


@numba.njit(cache=True, nogil=True)
def _repeated_shares(runs, run_offsets, words, spelled, offsets):
    texts = len(offsets) - 1
    repetition, loop = np.zeros(texts, np.float64), np.zeros(texts, np.float64)
    longest = 1
    for text in range(texts):
        longest = max(longest, run_offsets[text + 1] - run_offsets[text])
    slots = 2
    while slots < 2 * longest:
        slots *= 2
    table, owner, latest = np.zeros(slots, np.uint64), np.full(slots, -1, np.int64), np.zeros(slots, np.int64)
    for text in range(texts):
        mine, start, stop = runs[run_offsets[text] : run_offsets[text + 1]], offsets[text], offsets[text + 1]
        if len(mine) >= LEAST_RUNS:
            repeated, looped = _repeats(mine, words[start:stop], spelled[start:stop], text, table, owner, latest)
            repetition[text], loop[text] = repeated / len(mine), looped / (stop - start)
    return repetition, loop


@numba.njit(cache=True, nogil=True)
def _repeats(runs, words, spelled, text, table, owner, latest):
    """(runs of several words that occurred before, words that continue a loop). A slot of the hash table is free unless
    `text` owns it; `latest` is where its run was last. Where a run stood `period` words before, the words from here on
    are compared with those `period` before; the latest such comparison is not made twice."""
    mask, least_slots = 0, 2 * len(runs)
    while mask + 1 < least_slots:
        mask = 2 * mask + 1
    repeated, looped, end, compared = 0, 0, 0, 0
    for place in range(len(runs)):
        run = runs[place]
        slot = np.int64(run & np.uint64(mask))
        while owner[slot] == text and table[slot] != run:
            slot = (slot + 1) & mask
        if owner[slot] == text:
            repeated += _different(words, spelled, place, place + RUN_WORDS) >= LEAST_DIFFERENT
            period = place - latest[slot]
            least = max(LOOP_LEAST, (LOOP_TIMES - 1) * period)
            if place >= end and place + least <= len(words) and period != compared:
                reach = _same_until(words, place, period)
                if not spelled[place : place + period].any():
                    least = max(least, LOOP_LEAST_NUMBERS)
                if reach - place >= least:
                    looped, end = looped + reach - place, reach
                compared = period
        else:
            compared = 0
        table[slot], owner[slot], latest[slot] = run, text, place
    return repeated, looped


@numba.njit(cache=True, nogil=True)
def _same_until(words, place, period):
    while place < len(words) and words[place] == words[place - period]:
        place += 1
    return place


@numba.njit(cache=True, nogil=True)
def _different(words, spelled, start, stop):
    """Different words of letters from `start` to `stop`, no further than LEAST_DIFFERENT."""
    found = 0
    for place in range(start, stop):
        new = spelled[place]
        for before in range(start, place):
            new &= words[before] != words[place]
        found += new
        if found == LEAST_DIFFERENT:
            break
    return found
