r"""LaTeX as sympy 1.12 reads it (`sympy.parsing.latex.parse_latex`), which is what the paper's harness compares by.

That parser needs a version of ANTLR that other packages here do not allow. This one reads the same language by hand,
with what is odd about it, for verdicts hang on it: every letter is a variable, \pi, e and i too; words are products; a
name before a bracket is a function; blanks mean nothing, so that "2 3" is 23; and what cannot follow is left unread, so
that "2,3" is 2. Integrals, sums, limits, derivatives and brackets of physics are not read: LatexError.

Leaves out nothing that evaluates text: no name is looked up and nothing is called but sympy's own constructors.
"""

import re
from collections.abc import Callable
from typing import Any

import sympy

_TOKEN = re.compile(
    r"(?P<skip>\s+|\\[,:;! ]|\\(?:left|right|quad|qquad|thinspace|medspace|thickspace|big|Big|bigg|Bigg)(?![A-Za-z])"
    r"|(?<=[^\\])&)"
    r"|(?P<differential>d\s*(?:[A-Za-z]|\\[A-Za-z]+))|(?P<letter>[A-Za-z])|(?P<digit>[0-9])"
    r"|(?P<command>\\[A-Za-z]+)|(?P<mark>\\[{}]|[-+*/^_(){}\[\]|,.:!'=<>])"
)
_FUNCTIONS = {"ln": "log", "log": "log", "lg": "log", "exp": "exp"} | {
    name: name for name in ["sin", "cos", "tan", "csc", "sec", "cot", "sinh", "cosh", "tanh"]
}
_FUNCTIONS |= {f"arc{name}": f"a{name}" for name in ["sin", "cos", "tan", "csc", "sec", "cot"]}
_FUNCTIONS |= {f"ar{name}": f"a{name}" for name in ["sinh", "cosh", "tanh"]}
_UNREAD = {"int", "sum", "prod", "lim", "langle", "rangle", "overline", "mathit", "begin", "end"}
_RELATIONS: dict[str, Callable[..., Any]] = {
    "=": sympy.Eq, "<": sympy.Lt, ">": sympy.Gt, "\\lt": sympy.Lt, "\\gt": sympy.Gt, "\\neq": sympy.Ne,
    "\\leq": sympy.Le, "\\le": sympy.Le, "\\leqslant": sympy.Le, "\\geq": sympy.Ge, "\\ge": sympy.Ge,
    "\\geqslant": sympy.Ge,
}  # fmt: skip
_PRODUCTS = ("*", "\\times", "\\cdot", "/", "\\div", ":")
_CLOSES = {"(": ")", "[": "]", "{": "}", "\\{": "\\}", "\\lbrack": "\\rbrack"}
MAX_DEPTH = 60


class LatexError(ValueError):
    """Text that sympy's parser refuses, or that this one does not read."""


class _NoToken(LatexError):
    """A character that is in no token: reading ends, where of other mistakes only what leads to them is left unread."""


def parse_latex(text: str) -> Any:
    """The expression or relation at the beginning of `text`, unevaluated."""
    reader = _Reader(text)
    return reader.relation()


class _Reader:
    """Recursive descent, one method per rule of sympy's grammar."""

    def __init__(self, text: str):
        self._text, self._place, self._depth = text, 0, 0
        self.kind, self.token = "", ""
        self._next()

    def _next(self) -> str:
        """Go on to the next token; the one before. A character that is no token matters only where it is come to."""
        before = self.token
        while True:
            found = _TOKEN.match(self._text, self._place)
            if not found:
                at_end = self._place >= len(self._text)
                if not at_end:
                    raise _NoToken(self._text[self._place])
                self.kind, self.token = "end", ""
                return before
            self._place, self.kind, self.token = found.end(), found.lastgroup or "", found[0]
            if self.kind != "skip":
                return before

    def _tried(self, rule: Callable[[], Any]) -> Any:
        """What `rule` reads from here; None, and nothing is read, where it cannot."""
        state = self._place, self.kind, self.token, self._depth, self._in_bars
        try:
            return rule()
        except _NoToken:
            raise
        except LatexError:
            self._place, self.kind, self.token, self._depth, self._in_bars = state
            return None

    def _take(self, wanted: str) -> None:
        if self.token != wanted:
            raise LatexError(f"{wanted} expected, {self.token or 'the end'} found")
        self._next()

    def relation(self) -> Any:
        left = self._sum()
        while relation := _RELATIONS.get(self.token):
            if (right := self._tried(lambda: self._after(self._sum))) is None:
                break
            left = relation(left, right, evaluate=False)
        return left

    def _after(self, rule: Callable[[], Any]) -> Any:
        """What `rule` reads behind the next token."""
        self._next()
        return rule()

    def _sum(self) -> Any:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise LatexError("too deep")
        left = self._product()
        while (sign := self.token) in ("+", "-"):
            if (right := self._tried(lambda: self._after(self._product))) is None:
                break
            left = sympy.Add(left, right if sign == "+" else _negative(right), evaluate=False)
        self._depth -= 1
        return left

    def _product(self) -> Any:
        left = self._unary()
        while (by := self.token) in _PRODUCTS:
            if (right := self._tried(lambda: self._after(self._unary))) is None:
                break
            if by in ("/", "\\div", ":"):
                right = sympy.Pow(right, -1, evaluate=False)
            left = sympy.Mul(left, right, evaluate=False)
        return left

    def _unary(self) -> Any:
        if self.token in ("+", "-"):
            sign, value = self._next(), self._unary()
            return value if sign == "+" else _negative(value)
        return self._factors(with_functions=True)

    def _factors(self, with_functions: bool) -> Any:
        """Factors that stand side by side."""
        found = [self._postfix()]
        while self._begins() and (with_functions or self.token[1:] not in _FUNCTIONS):
            if (factor := self._tried(self._postfix)) is None:
                break
            found.append(factor)
        value = found.pop()
        while found:
            value = sympy.Mul(found.pop(), value, evaluate=False)
        return value

    def _begins(self) -> bool:
        if self.kind == "command":
            return self.token not in _RELATIONS and self.token not in (*_PRODUCTS, "\\rbrack", "\\rfloor", "\\rceil")
        opens = self.token in ("(", "[", "{", "\\{") or (self.token == "|" and not self._in_bars)
        return self.kind in ("letter", "digit", "differential") or opens

    _in_bars = False

    def _is_decimal(self) -> bool:
        return self.token == "." and self._text[self._place : self._place + 1].isdigit()

    def _postfix(self) -> Any:
        value = self._power()
        while self.token == "!":
            self._next()
            value = sympy.factorial(value, evaluate=False)
        return value

    def _power(self) -> Any:
        base = self._atom()
        while self.token == "^":
            if (exponent := self._tried(lambda: self._after(self._script))) is None:
                break
            base = sympy.Pow(base, exponent, evaluate=False)
        return base

    def _script(self) -> Any:
        """What stands in an exponent or index: in braces, or one atom."""
        if self.token == "{":
            return self._group()
        if self.kind == "digit":  # a^12 is a^1 times 2 in TeX, a^12 here
            return sympy.Number(self._next()) if self._one_digit else self._number()
        return self._atom()

    def _group(self) -> Any:
        close = _CLOSES[self._next()]
        in_bars, self._in_bars = self._in_bars, False
        value = self._sum()
        self._in_bars = in_bars
        self._take(close)
        return value

    def _atom(self) -> Any:
        if self.token in _CLOSES:
            return self._group()
        if self.kind == "digit":
            return self._number()
        if self.kind == "differential":
            return sympy.Symbol(self._next().replace(" ", "").replace("\\", ""))
        if self.kind == "letter":
            return self._named(self._next())
        if self.token == "|" and not self._in_bars:
            return self._bars()
        if self.kind == "command":
            return self._command(self._next()[1:])
        raise LatexError(f"{self.token or 'the end'} where an expression should be")

    def _bars(self) -> Any:
        self._next()
        self._in_bars = True
        value = self._sum()
        self._in_bars = False
        self._take("|")
        return sympy.Abs(value, evaluate=False)

    def _number(self) -> Any:
        """Digits, in groups of three behind commas, and a decimal part. A point without one makes the digits before it
        separate numbers and takes the last of them along: "36." is 3."""
        text = ""
        while self.kind == "digit":
            text += self._next()
        while self.token == "," and self._three_digits():
            self._next()
            text += self._next() + self._next() + self._next()
        if self._is_decimal():
            text += self._next()
            while self.kind == "digit":
                text += self._next()
        elif self.token == ".":
            return self._before_a_point(text)
        if re.match(r"0\d", text) and "." not in text:
            raise _NoToken(text)
        return sympy.Number(text)

    def _before_a_point(self, text: str) -> Any:
        if len(text) == 1:
            raise _NoToken(".")
        *digits, value = map(sympy.Number, text[:-1])
        for digit in reversed(digits):
            value = sympy.Mul(digit, value, evaluate=False)
        self.kind, self.token, self._place = "end", "", len(self._text)
        return value

    def _three_digits(self) -> bool:
        rest = self._text[self._place :]
        if rest[:1] in ("$", "%", "#", "~", ";", "?"):
            raise _NoToken(rest[0])
        return re.match(r"(?:(?:\s|\\[,:;! ])*\d){3}", rest) is not None

    def _named(self, name: str) -> Any:
        """A variable with its index and primes, or a function where a bracket follows."""
        if self.token == "_" and (index := self._tried(lambda: self._after(self._script))) is not None:
            name += f"_{{{index}}}"
        while self.token == "'":
            name += self._next()
        arguments = self._tried(self._arguments) if self.token == "(" else None
        return sympy.Symbol(name) if arguments is None else sympy.Function(name)(*arguments)

    def _arguments(self) -> list[Any]:
        self._take("(")
        found = [self._sum()]
        while self.token == ",":
            self._next()
            found.append(self._sum())
        self._take(")")
        return found

    def _command(self, name: str) -> Any:
        if name in _FUNCTIONS:
            return self._function(name)
        match name:
            case "frac" | "dfrac" | "tfrac":
                above, below = self._part(), self._part()
                under = sympy.Pow(below, -1, evaluate=False)
                return under if above == 1 else sympy.Mul(above, under, evaluate=False)
            case "binom" | "dbinom" | "tbinom":
                return sympy.binomial(self._part(), self._part(), evaluate=False)
            case "sqrt":
                return self._root()
            case "infty":
                return sympy.oo
            case "lfloor" | "lceil":
                value = self._sum()
                self._take("\\r" + name[1:])
                return (sympy.floor if name == "lfloor" else sympy.ceiling)(value, evaluate=False)
            case _ if name in _UNREAD:
                raise LatexError(f"\\{name} is not read")
        return self._named(name)

    def _part(self) -> Any:
        """Above or below a fraction: in braces, or one digit."""
        if self.token == "{":
            return self._group()
        if self.kind != "digit":
            raise LatexError("a fraction without braces")
        return sympy.Number(self._next())

    def _root(self) -> Any:
        degree = self._group() if self.token == "[" else None
        if self.token != "{":
            raise LatexError("a root without braces")
        value = self._group()
        return sympy.root(value, degree, evaluate=False) if degree is not None else sympy.sqrt(value, evaluate=False)

    def _function(self, name: str) -> Any:
        """A function of what stands in brackets behind it, or beside it. Where nothing is left for it, its index or
        exponent is one digit: "\\log_2 8"."""
        if (value := self._tried(lambda: self._applied(name))) is None:
            self._one_digit = True
            value = self._applied(name)
        self._one_digit = False
        return value

    _one_digit = False

    def _applied(self, name: str) -> Any:
        base = exponent = None
        while self.token in ("_", "^"):
            if self._next() == "_":
                base = self._script()
            else:
                exponent = self._script()
        if self.token in ("(", "{"):
            argument = self._group()
        else:
            argument = self._factors(with_functions=False) if self._begins() else self._unary()
        kind = _FUNCTIONS[name]
        if kind == "log":
            base = base if base is not None else 10 if name == "lg" else sympy.E
            value = sympy.log(argument, base, evaluate=False)
        else:
            if exponent == -1:
                kind, exponent = f"a{kind}", None
            value = getattr(sympy, kind)(argument, evaluate=False)
        return value if exponent is None else sympy.Pow(value, exponent, evaluate=False)


def _negative(value: Any) -> Any:
    return -value if value.is_Number else sympy.Mul(-1, value, evaluate=False)
