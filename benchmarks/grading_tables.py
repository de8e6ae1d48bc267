"""Public tables of answers with verdicts, from clones of the repositories that hold them, as lines of JSON.

    python -m benchmarks.grading_tables FOLDER CLONE…

CLONE is a clone of any of: huggingface/Math-Verify, huggingface/lighteval, NVIDIA/NeMo-Skills,
MARIO-Math-Reasoning/MARIO_EVAL, maths/moodle-qtype_stack, hendrycks/math, thinking-machines-lab/tinker-cookbook,
openai/grade-school-math, QwenLM/Qwen2.5-Math; which one is told by the files in it (its HEAD is read, so a bare clone
will do). Writes one file per table to FOLDER, each line with

    reference   the right answer, without dollars or box where it is one formula
    response    what is graded: \\boxed{answer} for a bare answer, else the prose as it is
    expected    whether the table calls it right
    gold, said  what the table itself gives to its grader (math-verify is run on these)
    half        "seen" or "held", by a hash: `benchmarks.grading` prints both, so that one can be kept from tuning

The data is its authors' and is not part of this repository. Leaves out rows that ask for another setting than the
default (strict=False), for what is no answer (a function, null), and of STACK what has no LaTeX (predicates, logic
variables, options that switch its tests).
"""

import ast
import hashlib
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from evaluation.grading.extraction import extract

Row = dict[str, Any]


def read(clone: Path, path: str) -> str | None:
    """A file of HEAD, or None where there is none."""
    done = subprocess.run(["git", "-C", str(clone), "show", f"HEAD:{path}"], capture_output=True, check=False)
    return done.stdout.decode() if done.returncode == 0 else None


def row(reference: str, response: str, expected: bool, gold: str, said: str) -> Row:
    digest = hashlib.sha256(f"{gold}\0{said}".encode()).digest()[0]
    return {"reference": reference, "response": response, "expected": expected, "gold": gold, "said": said,
            "half": "held" if digest % 2 else "seen"}  # fmt: skip


def pair(reference: str, answer: str, expected: bool) -> Row:
    """A row of two bare answers."""
    return row(reference, rf"\boxed{{{answer}}}", expected, f"${reference}$", f"${answer}$")


_WHOLE = re.compile(r"\s*(?:\$\$(.+?)\$\$|\$((?:[^$\\]|\\.)+)\$|\\\((.+?)\\\)|\\\[(.+?)\\\])\s*", re.DOTALL)


def bare(text: str) -> str | None:
    """The formula that is all of `text`, else None."""
    found = _WHOLE.fullmatch(text)
    inner = next(group for group in found.groups() if group) if found else text
    is_prose = re.search(r"[A-Za-z]{2,} [A-Za-z]{2,}", re.sub(r"\\text\{[^}]*\}", "", inner)) or "boxed" in inner
    return None if is_prose or (not found and any(mark in text for mark in ("$", r"\[", r"\("))) else inner.strip()


def mixed(gold: str, said: str, expected: bool) -> Row:
    """A row whose texts may be prose: a reference is unboxed, and a bare answer boxed."""
    is_long = len(gold) > 300
    reference = extract(gold, "boxed") or bare(gold) or (extract(gold) if is_long else gold) or gold
    formula = bare(said)
    return row(reference, said if formula is None else rf"\boxed{{{formula}}}", expected, gold, said)


# -- tables in Python tests ----------------------------------------------------------------------------------------


def _parametrised(source: str) -> Iterator[tuple[list[str], list[Any]]]:
    """The names and the rows of each pytest.mark.parametrize, where these are literals."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "parametrize" and len(node.args) > 1:
            names = re.split(r"\s*,\s*", ast.literal_eval(node.args[0]))
            rows = [_literal(element) for element in getattr(node.args[1], "elts", [])]
            yield names, [one for one in rows if one is not None]


def _literal(node: ast.expr) -> Any:
    """The value of a literal, None for what is none."""
    try:
        return ast.literal_eval(node)
    except ValueError:
        return None


_COMPUTED = (('f"{math.sqrt(17):.15f}"', '"4.123105625617661"'), ('f"$\\\\sqrt{{17}}$"', 'r"$\\sqrt{17}$"'))
"""The one row of Math-Verify's that is no literal."""


def math_verify(clone: Path) -> Iterator[Row] | None:
    files = ("test_all", "test_boxed", "test_numina_cases", "test_open_thoughts", "test_strict")
    sources = [read(clone, f"tests/{name}.py") for name in files]
    if sources[0] is None or "compare_strings" not in sources[0]:
        return None
    return _math_verify(filter(None, sources))


def _math_verify(sources: Iterator[str]) -> Iterator[Row]:
    for source in sources:
        for computed, literal in _COMPUTED:
            source = source.replace(computed, literal)
        for names, rows in _parametrised(source):
            if names[:2] != ["gold", "pred"]:
                continue
            for values in rows:
                said = dict(zip(names, values, strict=True))
                if said.get("strict", True) and said.get("allow_set_relation_comp") is not False:
                    yield mixed(said["gold"], said["pred"], bool(said.get("expected", said.get("result"))))


def yujianll(clone: Path) -> Iterator[Row] | None:
    source = read(clone, "tests/test_yujianll.py")
    return _math_verify(iter([source])) if source else None


def lighteval(clone: Path) -> Iterator[Row] | None:
    source = read(clone, "tests/unit/metrics/test_extractive_match.py")
    return _lighteval(source) if source else None


def _lighteval(source: str) -> Iterator[Row]:
    """English rows, but for those that Math-Verify has too."""
    for names, rows in _parametrised(source):
        if names[:2] == ["gold", "pred"]:
            for values in rows:
                said = dict(zip(names, values, strict=True))
                if all(isinstance(said[name], str) for name in ("gold", "pred")) and isinstance(
                    said.get("expected"), int
                ):
                    one = mixed(said["gold"], said["pred"], bool(said["expected"]))
                    yield one | {"rule": "choice" if re.fullmatch("[A-E]", said["gold"]) else "chain"}


def nemo_skills(clone: Path) -> Iterator[Row] | None:
    source = read(clone, "tests/test_math_equal.py")
    return _nemo_skills(source) if source else None


def _nemo_skills(source: str) -> Iterator[Row]:
    for place, (_, rows) in enumerate(_parametrised(source)):
        for one, other in rows:
            if one is not None and other is not None:
                yield pair(str(one), str(other), place == 0)
                yield pair(str(other), str(one), place == 0)


def mario(clone: Path) -> Iterator[Row] | None:
    source = read(clone, "math_evaluation/tests/test_is_equiv.py")
    return _assertions(source) if source else None


def hendrycks(clone: Path) -> Iterator[Row] | None:
    source = read(clone, "modeling/math_equivalence_test.py")
    return _assertions(source) if source else None


def _assertions(source: str) -> Iterator[Row]:
    """assertTrue and assertFalse on test_in and test_out, as assigned before or listed in pairs."""
    for function in ast.walk(ast.parse(source)):
        if isinstance(function, ast.FunctionDef) and function.name.startswith("test"):
            names: dict[str, Any] = {}
            for statement in function.body:
                yield from _asserted(statement, names)


def _asserted(statement: ast.stmt, names: dict[str, Any]) -> Iterator[Row]:
    if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
        names[statement.targets[0].id] = ast.literal_eval(statement.value)
    elif isinstance(statement, ast.For):
        for answer, reference in names["test_pairs"]:
            yield pair(reference, answer, "assertTrue" in ast.dump(statement))
    elif isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call):
        yield pair(names["test_out"], names["test_in"], getattr(statement.value.func, "attr", "") == "assertTrue")


def tinker(clone: Path) -> Iterator[Row] | None:
    source = read(clone, "tinker_cookbook/recipes/math_rl/math_env_test.py")
    found = re.findall(r"assert grade_answer\((\".*?\"), (\".*?\")\) is (True|False)", source or "")
    rows = (pair(ast.literal_eval(gold), ast.literal_eval(said), verdict == "True") for said, gold, verdict in found)
    return rows if source else None


# -- model outputs -------------------------------------------------------------------------------------------------


def gsm8k(clone: Path) -> Iterator[Row] | None:
    source = read(clone, "grade_school_math/data/example_model_solutions.jsonl")
    return _gsm8k(source) if source else None


def _gsm8k(source: str) -> Iterator[Row]:
    for line in source.splitlines():
        problem = json.loads(line)
        gold = problem["ground_truth"].rpartition("A:")[2].strip()
        for said in problem.values():
            if isinstance(said, dict):
                yield row(gold, said["solution"], said["is_correct"], f"${gold}$", said["solution"])


def qwen(clone: Path) -> Iterator[Row] | None:
    source = read(clone, "evaluation/data/eval_rm_maj_example/math_cot_100.jsonl")
    return _qwen(source) if source else None


def _qwen(source: str) -> Iterator[Row]:
    for line in source.splitlines():
        problem = json.loads(line)
        for response, verdict in zip(problem["code"], problem["score"], strict=True):
            yield row(problem["gt"], response, bool(verdict), f"${problem['gt']}$", response)


# -- STACK ---------------------------------------------------------------------------------------------------------

_STACK = re.compile(
    r"\[\s*'AlgEquiv',\s*'((?:[^'\\]|\\.)*)',\s*'((?:[^'\\]|\\.)*)',\s*'((?:[^'\\]|\\.)*)',\s*(-?\d),", re.DOTALL
)
_MAXIMA = re.compile(r"%[a-z]+|[A-Za-z][A-Za-z0-9]*(?:_[A-Za-z0-9]+)*|\d+\.?\d*(?:[eE][-+]?\d+)?|\.\d+|<=|>=|\*\*|.")
_NAMES = {"%pi": r"\pi", "pi": r"\pi", "%e": "e", "%i": "i", "inf": r"\infty", "%phi": r"\phi"}
_GREEK = "alpha, beta, gamma, delta, epsilon, theta, lambda, mu, nu, rho, sigma, tau, phi, omega, xi, psi"
_CALLS: dict[str, Callable[..., str]] = {
    "sqrt": r"\sqrt{{{}}}".format, "abs": r"\left|{}\right|".format, "exp": "e^{{{}}}".format,
    "log": r"\ln\left({}\right)".format, "ln": r"\ln\left({}\right)".format, "binomial": r"\binom{{{}}}{{{}}}".format,
    **{name: rf"\{name}\left({{}}\right)".format for name in ("sin", "cos", "tan", "sec", "cot")},
    **{name: rf"\{name}\left({{}}\right)".format for name in ("sinh", "cosh", "tanh")},
    **{a: rf"\{b}\left({{}}\right)".format for a, b in (("asin", "arcsin"), ("acos", "arccos"), ("atan", "arctan"))},
}  # fmt: skip
_SIGNS = {"=": "=", "<": "<", ">": ">", "<=": r"\le", ">=": r"\ge", "#": r"\ne", "+": "+", "-": "-", "*": r"\cdot"}
_LEVELS = (("or", "nounor"), ("and", "nounand"), ("=", "<", ">", "<=", ">=", "#"), ("+", "-"), ("*", "/"))


class NoLatex(Exception):
    """What has no LaTeX that a model would write."""


class _Maxima:
    """A recursive descent over an expression of Maxima."""

    def __init__(self, text: str):
        self.tokens = [token for token in _MAXIMA.findall(text) if not token.isspace()]

    def latex(self) -> str:
        found = self._level(0)
        if self.tokens:
            raise NoLatex
        return found

    def _next(self) -> str:
        return self.tokens[0] if self.tokens else ""

    def _take(self, wanted: str = "") -> str:
        if not self.tokens or (wanted and self.tokens[0] != wanted):
            raise NoLatex
        return self.tokens.pop(0)

    def _level(self, level: int) -> str:
        if level == len(_LEVELS):
            return self._sign()
        found = self._level(level + 1)
        while self._next() in _LEVELS[level]:
            sign = self._take()
            other = self._level(level + 1)
            if sign == "/":
                found = rf"\frac{{{found}}}{{{other}}}"
            else:
                found += (
                    rf" \text{{ {sign.removeprefix('noun')} }} {other}" if level < 2 else f" {_SIGNS[sign]} {other}"
                )
        return found

    def _sign(self) -> str:
        if self._next() in ("-", "+"):
            sign = self._take()
            return ("-" if sign == "-" else "") + self._sign()
        return self._power()

    def _power(self) -> str:
        base, is_simple = self._atom()
        while self._next() == "!":
            base += self._take()
        if self._next() not in ("^", "**"):
            return base
        self._take()
        exponent = self._sign()
        return f"{base}^{{{exponent}}}" if is_simple else rf"\left({base}\right)^{{{exponent}}}"

    def _atom(self) -> tuple[str, bool]:
        token = self._take()
        if token == "(":
            inner = self._level(0)
            self._take(")")
            return rf"\left({inner}\right)", True
        if token in "[{":
            inner = ", ".join(self._arguments("]" if token == "[" else "}"))
            return (f"[{inner}]" if token == "[" else rf"\{{{inner}\}}"), True
        if token[0].isdigit() or token[0] == ".":
            return token, True
        if not token[0].isalpha() and token[0] != "%":
            raise NoLatex
        if self._next() == "(":
            self._take()
            return self._call(token)
        return self._name(token), True

    def _arguments(self, closing: str) -> list[str]:
        found = []
        while self._next() != closing:
            found.append(self._level(0))
            if self._next() == ",":
                self._take()
        self._take(closing)
        return found

    def _call(self, name: str) -> tuple[str, bool]:
        found = self._arguments(")")
        if name == "matrix":
            rows = r" \\ ".join(" & ".join(line[1:-1].split(", ")) for line in found)
            return rf"\begin{{pmatrix}} {rows} \end{{pmatrix}}", True
        if name == "root":
            return rf"\sqrt[{found[1]}]{{{found[0]}}}" if len(found) > 1 else rf"\sqrt{{{found[0]}}}", True
        if name in _CALLS:
            try:
                return _CALLS[name](*found), name in ("sqrt", "abs", "binomial")
            except IndexError as error:
                raise NoLatex from error
        if len(name) == 1 and len(found) == 1:
            return f"{name}({found[0]})", True
        raise NoLatex

    def _name(self, token: str) -> str:
        if token in _NAMES:
            return _NAMES[token]
        if token in _GREEK.split(", "):
            return rf"\{token}"
        if token in ("true", "false", "all", "none", "not", "if", "then", "und", "unknown"):
            raise NoLatex
        head, _, index = token.partition("_")
        if len(head) > 1:
            raise NoLatex
        return f"{head}_{{{index}}}" if index else head


def stack(clone: Path) -> Iterator[Row] | None:
    source = read(clone, "tests/fixtures/answertestfixtures.class.php")
    return _stack(source) if source else None


def _stack(source: str) -> Iterator[Row]:
    seen = set()
    for option, answer, reference, score in _STACK.findall(source):
        if option or score == "-1" or (answer, reference) in seen:
            continue
        seen.add((answer, reference))
        try:
            yield pair(_Maxima(reference).latex(), _Maxima(answer).latex(), score in ("1", "-3"))
        except NoLatex:
            continue


TABLES = {
    "math_verify": math_verify, "yujianll": yujianll, "lighteval": lighteval, "nemo_skills": nemo_skills,
    "mario": mario, "hendrycks": hendrycks, "tinker": tinker, "stack": stack, "gsm8k_solutions": gsm8k,
    "qwen_outputs": qwen,
}  # fmt: skip


def main(folder: Path, clones: list[Path]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    texts: set[tuple[str, str]] = set()
    for name, convert in TABLES.items():
        for clone in clones:
            if (rows := convert(clone)) is None:
                continue
            found = [one for one in rows if name != "lighteval" or (one["gold"], one["said"]) not in texts]
            texts |= {(one["gold"], one["said"]) for one in found}
            lines = "".join(json.dumps(one, ensure_ascii=False) + "\n" for one in found)
            (folder / f"{name}.jsonl").write_text(lines, encoding="utf-8")
            print(f"{name:16} {len(found):6,} rows")


if __name__ == "__main__":
    main(Path(sys.argv[1]), [Path(one) for one in sys.argv[2:]])
