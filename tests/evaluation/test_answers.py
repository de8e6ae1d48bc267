"""The grader: what it finds, how it rules, that it agrees with math-verify, and that nothing freezes or fools it."""

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from math_verify import parse, verify

from evaluation.grading.algebra import MIN_ROUNDED, RELATIVE, judge
from evaluation.grading.answers import OUT_OF_MEMORY, Grader, Verdict, _fault, extract, grade
from evaluation.grading.controls import TOO_HARD
from evaluation.grading.equality import MAX_CHARACTERS, decide, normalise, refusal
from evaluation.grading.shapes import read

ROOT = Path(__file__).parents[2]
LINES = (Path(__file__).parent / "verdicts.tsv").read_text(encoding="utf-8").splitlines()
TABLE = [tuple(line.split("\t")) for line in LINES if line and not line.startswith("#")]
FROZEN = r"\binom{10000000}{5000000}"
"""Takes sympy minutes and passes every limit: only the clock ends it."""


@pytest.fixture(scope="module")
def grader():
    with Grader(workers=1, limit_seconds=30) as shared:
        yield shared


# -- verdicts ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("verdict", "reference", "answer"), TABLE)
def test_verdict(verdict, reference, answer):
    assert grade(f"So the answer is \\boxed{{{answer}}}", reference).verdict == verdict


def test_workers_rule_as_this_process_does(grader):
    responses = [f"\\boxed{{{answer}}}" for _, _, answer in TABLE]
    references = [reference for _, reference, _ in TABLE]
    assert grader.grade_all(responses, references) == [
        grade(response, reference) for response, reference in zip(responses, references, strict=True)
    ]


def test_the_table_is_large_enough():
    assert len(TABLE) >= 360 and len(set(TABLE)) == len(TABLE)


@pytest.mark.parametrize("reference", sorted({reference for _, reference, _ in TABLE}))
def test_a_reference_equals_itself(reference):
    assert grade(f"\\boxed{{{reference}}}", reference).verdict is Verdict.CORRECT


def test_an_empty_reference_is_an_error_of_ours():
    assert grade("\\boxed{5}", "").verdict is Verdict.ERROR


# -- extraction ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "response", "found"),
    [
        ("boxed", r"first \boxed{1}, then \boxed{2}", "2"),
        ("boxed", r"\boxed{\frac{1}{2}}", r"\frac{1}{2}"),
        ("boxed", r"\boxed {7}", "7"),
        ("boxed", r"\fbox{7}", "7"),
        ("boxed", r"\boxed{\boxed{7}}", "7"),
        ("boxed", r"\boxed{\{1,2\}}", r"\{1,2\}"),
        ("boxed", r"a } stray brace, \boxed{3}", "3"),
        ("boxed", r"a { stray brace, \boxed{3}", "3"),
        ("boxed", r"\boxed{3} and then \boxed{4", "3"),
        ("boxed", r"\boxed{4", None),
        ("boxed", "the answer is 4", None),
        ("boxed", r"<think>\boxed{1}?</think> \boxed{2}", "2"),
        ("phrase", "The answer is 12.", "12"),
        ("phrase", "The final answer is $\\frac{1}{2}$. I hope it is correct.", r"\frac{1}{2}"),
        ("phrase", "the answer is 3. No, the answer is 4.", "4"),
        ("phrase", "**Final Answer**: 42", "42"),
        ("phrase", "Answer:\n17\nmore", "17"),
        ("phrase", "The answer is 42 apples.", "42"),
        ("phrase", "The answer is 3.5 metres. Good.", "3.5"),
        ("phrase", "The answer is \\(x^2\\).", "x^2"),
        ("phrase", "The answer is (1, 2).", "(1, 2)"),
        ("phrase", "nothing of the kind", None),
        ("hashes", "2+2=4\n#### 4", "4"),
        ("hashes", "#### 1\n#### 1,234\nQ: next", "1,234"),
        ("hashes", "no marks", None),
        ("number", "so 12 and then 1,234 in all", "1,234"),
        ("number", "it is -3.5 degrees", "-3.5"),
        ("number", "5-3 = 2", "2"),
        ("number", "7-3", "3"),
        ("number", "about 3/4 of it", "3/4"),
        ("number", "that is 50%", "50%"),
        ("number", "1, 2, 3", "3"),
        ("number", "words only", None),
        ("choice", r"\boxed{B}", "B"),
        ("choice", r"\boxed{\text{(C)}}", "C"),
        ("choice", "The answer is (D).", "D"),
        ("choice", "The answer is A) 5", "A"),
        ("choice", "Either (A) or (B), I take (B)", "B"),
        ("choice", "Reasoning…\nC", "C"),
        ("choice", "A man walks home.", None),
        ("chain", r"the answer is 3, so \boxed{4}", "4"),
        ("chain", "the answer is 3\n#### 4", "3"),
        ("chain", "7 and\n#### 4", "4"),
        ("chain", "7 and 8", "8"),
        ("chain", r"3 or 5 \boxed{5", None),
        ("chain", "", None),
    ],
)
def test_extract(rule, response, found):
    assert extract(response, rule) == found


def test_a_response_without_an_answer_is_unparsed():
    assert grade("I do not know", "5").verdict is Verdict.UNPARSED
    assert grade("", "5").reason == "empty response"


@given(st.text(max_size=200))
def test_extraction_takes_any_text(text):
    for rule in ("boxed", "phrase", "hashes", "number", "choice", "chain"):
        extract(text, rule)


@given(st.text(max_size=80) | st.text(r"\\{}()[]$,;:=<>|^_.12xi frac sqrtpmcupintexandor", max_size=60))
@settings(deadline=None)
def test_any_text_is_read_and_its_normal_form_is_final(text):
    plain = normalise(text)
    assert read(plain) == read(plain)
    assert decide(plain or "1", plain or "1") == (Verdict.CORRECT, "same text")


@pytest.mark.parametrize(("verdict", "reference", "answer"), [row for row in TABLE if row[0] == "CORRECT"][::7])
@pytest.mark.parametrize("hedge", ["{} or 9173", "9173 or {}", "{}, 9173", r"\{{{}, 9173\}}", "{} = 9173", "9173 = {}"])
def test_no_second_candidate_is_paid_for(verdict, reference, answer, hedge):
    assert grade(rf"\boxed{{{hedge.format(answer)}}}", reference).verdict is not Verdict.CORRECT


# -- agreement with math-verify ------------------------------------------------------------------------------------


def by_math_verify(answer: str, reference: str) -> bool:
    golds, found = (parse(f"${text}$", parsing_timeout=None) for text in (reference, answer))
    return verify(golds, found, timeout_seconds=None)


def spell(value: int, places: int, separated: bool) -> str:
    sign, value = ("-" if value < 0 else ""), abs(value)
    whole, part = divmod(value, 10**places)
    digits = f"{whole:,}" if separated else str(whole)
    return f"{sign}{digits}.{part:0{places}d}" if places else f"{sign}{digits}"


NUMBERS = st.builds(spell, st.integers(-(10**12), 10**12) | st.integers(-2000, 2000), st.integers(0, 8), st.booleans())


SMALL = st.integers(-30, 60)
FRACTIONS = st.builds(
    lambda sign, above, below: f"{sign}\\frac{{{above}}}{{{below}}}",
    st.sampled_from(["", "-"]),
    SMALL,
    st.integers(1, 60),
) | SMALL.map(str)
ROOTS = st.builds(
    lambda sign, factor, radicand: f"{sign}{factor}\\sqrt{{{radicand}}}",
    st.sampled_from(["", "-"]), st.sampled_from(["", "0", "1", "2", "3", "4", "6", "17"]), st.integers(0, 80),
)  # fmt: skip
ENTRIES = SMALL.map(str) | st.integers(0, 2000).map(str) | st.builds(spell, SMALL, st.integers(1, 2), st.just(False))
POINTS = st.lists(ENTRIES, min_size=2, max_size=3)


def point(entries: list[str]) -> str:
    return f"({', '.join(entries)})"


@settings(max_examples=60, deadline=None)
@given(
    st.tuples(FRACTIONS, FRACTIONS)
    | st.tuples(ROOTS, ROOTS)
    | st.tuples(POINTS, POINTS).map(lambda two: (point(two[0]), point(two[1])))
)
def test_fractions_and_points_are_ruled_as_math_verify_rules(pair):
    ruling = decide(*pair)
    assert ruling is None or (ruling[0] is Verdict.CORRECT) == by_math_verify(*pair)


@settings(max_examples=40, deadline=None)
@given(POINTS, st.integers(0, 2), st.integers(-1, 1), st.randoms(use_true_random=False))
def test_points_that_are_nearly_the_same_are_ruled_as_math_verify_rules(entries, which, more, order):
    """An entry off by one, or the same entries in another order: (1, 2) is no set and no interval here."""
    other = list(entries)
    other[which % len(other)] = str(Decimal(other[which % len(other)]) + more)
    order.shuffle(other)
    ruling = decide(point(other), point(entries))
    assert ruling and (ruling[0] is Verdict.CORRECT) == by_math_verify(point(other), point(entries))


@settings(max_examples=300, deadline=None)
@given(st.tuples(NUMBERS, NUMBERS) | NUMBERS.map(lambda text: (text, text.replace(",", ""))))
def test_numbers_are_ruled_as_math_verify_rules(pair):
    ruling = decide(*pair)
    if ruling and ruling[0] in (Verdict.CORRECT, Verdict.INCORRECT):
        assert (ruling[0] is Verdict.CORRECT) == by_math_verify(*pair)


NEAR = st.tuples(st.integers(-(10**9), 10**9), st.integers(-30, 30), st.integers(4, 8))


@settings(max_examples=200, deadline=None)
@given(NEAR)
def test_numbers_that_nearly_agree_are_ruled_as_math_verify_rules(drawn):
    """But for small numbers, where rounding to six places would leave few digits or none."""
    value, apart, places = drawn
    pair = spell(value, places, False), spell(value + apart, places, False)
    ruling = decide(*pair) or judge(*pair)
    largest = max(abs(value), abs(value + apart))
    told_apart = Decimal(largest).scaleb(-places) < Decimal(str(MIN_ROUNDED)) and abs(apart) > largest * RELATIVE
    assert (ruling[0] is Verdict.CORRECT) == (by_math_verify(*pair) and not told_apart)


TERMS = st.recursive(
    st.sampled_from(["1", "2", "x", "y", "0.5", r"\pi", "12", "-3"]),
    lambda inner: st.one_of(
        st.tuples(inner, inner).map(lambda two: rf"\dfrac{{{two[0]}}}{{{two[1]}}}"),
        st.tuples(inner, inner).map(lambda two: f"{two[0]}+{two[1]}"),
        st.tuples(inner, inner).map(lambda two: rf"\left({two[0]}, {two[1]}\right)"),
        inner.map(lambda one: rf"\sqrt{{{one}}}"),
    ),
    max_leaves=4,
)


@settings(max_examples=100, deadline=None)
@given(TERMS, TERMS)
def test_same_text_is_ruled_as_math_verify_rules(one, other):
    ruling = decide(normalise(one), normalise(other))
    if ruling and ruling[0] is Verdict.CORRECT:
        assert by_math_verify(one, other)


# -- limits, hostile text, processes -------------------------------------------------------------------------------

HOSTILE = {
    "tower": r"\boxed{9^{9^{9}}}",
    "deep tower": r"\boxed{2^{2^{2^{2^{2^{2}}}}}}",
    "factorial": r"\boxed{1000000!}",
    "factorial of factorial": r"\boxed{((9!)!)!}",
    "parentheses": r"\boxed{" + "(" * 5_000 + "1" + ")" * 5_000 + "}",
    "braces": r"\boxed{" + "{" * 5_000 + "1" + "}" * 5_000 + "}",
    "digits": r"\boxed{" + "7" * 100_000 + "}",
    "digits, no box": "7" * 100_000,
    "open box": r"\boxed{5",
    "open boxes": r"\boxed{" * 100_000 + "5",
    "closing braces": "}" * 100_000,
    "NUL": "\\boxed{5\0}",
    "a million blanks": " " * 1_000_000,
    "blanks after the phrase": "answer is" + " " * 1_000_000,
    "phrases": "answer is " * 100_000,
    "backslashes": "\\" * 100_000,
    "surrogate": "\\boxed{\ud800}",
    "control characters": "\\boxed{\x01\x02\x1b[2J}",
    "newlines": "\\boxed{" + "\n" * 10_000 + "}",
    "frozen": rf"\boxed{{{FROZEN}}}",
}


def test_hostile_answers_are_never_correct_and_leave_nothing_running():
    names = list(HOSTILE)
    with Grader(workers=2, limit_seconds=3) as grader:
        grades = grader.grade_all([HOSTILE[name] for name in names] + [r"\boxed{2+3}"], ["5"] * (len(names) + 1))
        pids = worker_pids(grader)
    assert {name: one.verdict for name, one in zip(names, grades, strict=False) if one.verdict is Verdict.CORRECT} == {}
    assert (grades[names.index("frozen")].verdict, grades[names.index("frozen")].reason) == (Verdict.UNPARSED, TOO_HARD)
    assert grades[-1].verdict is Verdict.CORRECT
    assert not any(map(is_running, pids))


@given(st.integers(0, 3), st.sampled_from(["(", "{", "^", "!", "9", "x", "\0", "[", "**", ")", "}"]))
def test_what_passes_the_limits_is_short(repeat, piece):
    text = piece * 10**repeat
    assert refusal(text) or len(text) <= MAX_CHARACTERS


def test_order_is_kept_and_alike_pairs_are_ruled_once(grader):
    responses = [f"\\boxed{{\\frac{{{2 * i}}}{{{4 * i}}}}}" for i in range(1, 6)] * 10
    references = ["\\frac{1}{2}", "\\frac{1}{3}"] * 25
    verdicts = [one.verdict for one in grader.grade_all(responses, references)]
    assert verdicts == [Verdict.CORRECT, Verdict.INCORRECT] * 25


def test_long_batches_of_long_answers_pass_the_pipes(grader):
    sums = ["+".join(["x"] * 200) + f"+{i}" for i in range(40)]
    grades = grader.grade_all([f"\\boxed{{{text}}}" for text in sums], [f"200x+{i}" for i in range(40)])
    assert {one.verdict for one in grades} == {Verdict.CORRECT}


@pytest.mark.parametrize(("kills", "first"), [(1, Verdict.UNPARSED), (2, Verdict.ERROR)])
def test_a_worker_that_is_killed_is_tried_again_once_and_the_rest_is_graded(kills, first):
    with Grader(workers=1, limit_seconds=2) as grader, killing(grader, kills, signal.SIGKILL):
        grades = grader.grade_all([rf"\boxed{{{FROZEN}}}", r"\boxed{2+2}", r"\boxed{3+3}"], ["1", "4", "7"])
    assert [one.verdict for one in grades] == [first, Verdict.CORRECT, Verdict.INCORRECT]
    if first is Verdict.ERROR:
        assert grades[0].reason == "the grading process ended (exit status -9) twice"
        assert grader.grade_all([rf"\boxed{{{FROZEN}}}"], ["1"])[0].reason == TOO_HARD, "a death is not remembered"
        grader.close()


def test_an_answer_at_which_processes_end_themselves_is_at_fault():
    with Grader(workers=1, limit_seconds=20) as grader, killing(grader, 2, signal.SIGSEGV):
        (found,) = grader.grade_all([rf"\boxed{{{FROZEN}}}"], ["1"])
    assert (found.verdict, found.reason) == (Verdict.UNPARSED, TOO_HARD)


def test_an_answer_that_takes_all_memory_is_at_fault():
    assert _fault(OUT_OF_MEMORY, tried=False) is None, "what the worker kept of others may be at fault"
    assert _fault(OUT_OF_MEMORY, tried=True) == (Verdict.UNPARSED, TOO_HARD)


@contextmanager
def killing(grader, times, how):
    """Within, the first so many workers that were given something to do are ended while they do it."""
    seen, over = set(), threading.Event()

    def watch():
        while not over.is_set() and len(seen) < times:
            for worker in list(grader._workers):
                if worker.pending and worker.process.pid not in seen:
                    seen.add(worker.process.pid)
                    time.sleep(0.2)
                    os.kill(worker.process.pid, how)
            time.sleep(0.01)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


MONSTROUS = r"\binom{10000000}{5000000}"
UNGRADABLE = r"\int_0^1 \sin(\sin(\sin(x^x))) dx \cdot \binom{9000000}{4500000}"


def test_limits_are_the_responses_fault_where_the_reference_passes_its_controls():
    with Grader(workers=2, limit_seconds=2) as grader:
        grades = grader.grade_all([rf"\boxed{{{MONSTROUS}}}", r"\boxed{7}", "no idea"], ["5", "7", "7"])
    assert [(one.verdict, one.reason) for one in grades] == [
        (Verdict.UNPARSED, TOO_HARD),
        (Verdict.CORRECT, "same text"),
        (Verdict.UNPARSED, "no answer found"),
    ]


def test_a_reference_that_fails_its_controls_helps_nobody():
    """Whatever is answered, the right text too: else it would be of use to right answers alone."""
    responses = [rf"\boxed{{{text}}}" for text in ("0", "x", "1=1", UNGRADABLE, MONSTROUS)] + ["no idea"]
    with Grader(workers=2, limit_seconds=1) as grader:
        (failed,) = grader.check([UNGRADABLE])
        grades = grader.grade_all(responses, [UNGRADABLE] * 6)
    assert failed and failed.control == "off by one" and failed.reason == TOO_HARD
    assert {one.verdict for one in grades} == {Verdict.ERROR}
    assert {one.reason for one in grades} == {"reference fails a control (off by one): too_hard"}


def test_controls_are_looked_at_when_the_first_answer_is_too_hard():
    with Grader(workers=1, limit_seconds=1) as grader:
        (found,) = grader.grade_all([r"\boxed{x}"], [UNGRADABLE])
    assert found.verdict is Verdict.ERROR


@pytest.mark.parametrize("reference", ["", "7" * 2_000, r"\binom{10000000}{5000000}x", "{", r"\frac{1}{"])
def test_references_of_no_use_fail_the_controls(reference):
    with Grader(workers=1, limit_seconds=1) as grader:
        assert grader.check([reference])[0]


def test_references_of_use_pass_the_controls(grader):
    references = sorted({reference for _, reference, _ in TABLE})[::6]
    failed = {
        reference: found
        for reference, found in zip(references, grader.check(references), strict=True)
        if found and found.control != "off by one"
    }
    assert failed == {}


def test_a_machine_that_stands_still_changes_no_verdict():
    """A worker that gets no processor for longer than the limit: what counts is its own time."""
    with Grader(workers=1, limit_seconds=1) as grader:
        grader.grade_all([r"\boxed{1+1}"], ["2"])
        (pid,) = worker_pids(grader)
        os.kill(pid, signal.SIGSTOP)
        later = subprocess.Popen(
            [sys.executable, "-c", f"import time, os; time.sleep(3); os.kill({pid}, {int(signal.SIGCONT)})"]
        )
        (found,) = grader.grade_all([r"\boxed{2+2}"], ["4"])
        later.wait()
        assert found.verdict is Verdict.CORRECT and worker_pids(grader) == [pid]


def test_load_changes_no_verdict():
    """Four processes for each processor: a ruling takes many times as long by the clock, and is the same."""
    answers = [rf"\binom{{{n}000}}{{{n}00}}+x" for n in range(8, 14)] + [FROZEN]
    with Grader(workers=2, limit_seconds=2) as grader:
        idle = grader.grade_all([rf"\boxed{{{answer}}}" for answer in answers], ["x+1"] * len(answers))
    spinning = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(4 * (os.cpu_count() or 1))]
    try:
        with Grader(workers=2, limit_seconds=2) as grader:
            loaded = grader.grade_all([rf"\boxed{{{answer}}}" for answer in answers], ["x+1"] * len(answers))
    finally:
        for process in spinning:
            process.kill()
            process.wait()
    assert loaded == idle and idle[-1].reason == TOO_HARD


def test_a_worker_that_hangs_is_given_up_in_the_end(monkeypatch):
    monkeypatch.setattr("evaluation.grading.answers.WALL_SECONDS", 1.0)
    monkeypatch.setattr("evaluation.grading.answers.WALL_PER_SECOND", 0.0)
    with Grader(workers=1, limit_seconds=60) as grader, killing(grader, 2, signal.SIGSTOP):
        (found,) = grader.grade_all([rf"\boxed{{{FROZEN}}}"], ["1"])
    assert (found.verdict, found.reason) == (Verdict.ERROR, "the grading process hung twice")


def test_a_worker_that_died_between_two_batches_is_replaced():
    with Grader(workers=1, limit_seconds=20) as grader:
        grader.grade_all([r"\boxed{1+1}"], ["2"])
        (pid,) = worker_pids(grader)
        os.kill(pid, signal.SIGKILL)
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        grades = grader.grade_all([r"\boxed{1+2}", r"\boxed{1+3}"], ["3", "4"])
    assert [one.verdict for one in grades] == [Verdict.CORRECT, Verdict.CORRECT]


SCRIPT = """
import sys
from evaluation.grading.answers import Grader
limit, frozen = sys.argv[1:]
with Grader(workers=1, limit_seconds=float(limit)) as grader:
    grader.grade_all(["\\\\boxed{1+1}"], ["2"])
    print(grader._workers[0].process.pid, flush=True)
    grader.grade_all(["\\\\boxed{" + frozen + "}"], ["1"])
"""


@pytest.mark.parametrize(("how", "limit"), [(signal.SIGINT, "60"), (signal.SIGKILL, "1")])
def test_no_worker_outlives_its_parent(how, limit):
    command = [sys.executable, "-c", SCRIPT, limit, FROZEN]
    parent = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=ROOT)
    assert parent.stdout
    pid = int(parent.stdout.readline())
    time.sleep(0.3)
    parent.send_signal(how)
    parent.wait()
    parent.stdout.close()
    deadline = time.monotonic() + 30
    while is_running(pid) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not is_running(pid)


def test_a_worker_loads_no_engine():
    code = "import sys, evaluation.grading.grading_worker\n"
    code += "print({'torch', 'ray', 'transformers', 'pyarrow'} & set(sys.modules))"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert said.stdout.strip() == "set()"


def worker_pids(grader: Grader) -> list[int]:
    return [worker.process.pid for worker in grader._workers]


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
