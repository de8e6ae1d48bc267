"""Prompts, rules and faults of the tasks; every worked example obeys the rule of the tasks that show it."""

import hashlib
import json
from pathlib import Path

import pytest

from evaluation.benchmarks import KNOWN, SUITES
from evaluation.grading.answers import Grader, Verdict
from evaluation.grading.extraction import extract
from evaluation.grading.paper_latex import LatexError, parse_latex
from evaluation.protocols.released import FOLDER, released, shots
from evaluation.protocols.shots import SHOTS
from evaluation.tasks import PLAIN, TASKS, judge, prompt, quantity, task_of

HERE = Path(__file__).parent
VERDICTS, PROMPTS = (
    [json.loads(line) for line in (HERE / name).read_text(encoding="utf-8").splitlines()[1:]]
    for name in ("harness.jsonl", "harness_prompts.jsonl")
)
SUM = {"question": "What is 1+1?", "answer": "2", "choices": None}


@pytest.fixture(scope="module")
def grader():
    with Grader(workers=1) as one:
        yield one


def verdict(grader, name, answer, response, template="few_shot", protocol=None, choices=None):
    item = {"question": "?", "answer": answer, "choices": json.dumps(choices) if choices else None}
    return judge(task_of(name), template, protocol, [item], [response], grader)[0]


def test_every_benchmark_has_a_task_and_every_suite_is_of_benchmarks():
    assert set(TASKS) == set(KNOWN)
    assert {name for members in SUITES.values() for name in members} == set(KNOWN)
    assert len(SUITES["octothinker"]) == 14


@pytest.mark.parametrize("name", TASKS)
def test_examples_are_graded_right_by_the_rule_of_their_task(grader, name):
    task = TASKS[name]
    for shot in SHOTS[task.shots][: task.n]:
        item = {"question": "Another?", "answer": "0", "choices": None}
        shown = prompt(task, item, "few_shot")
        begin = shown.index(shot.question)
        ends = [place for stop in task.stop if (place := shown.find(stop, begin)) >= 0]
        response = shown[begin + len(shot.question) : min(ends)]
        said = verdict(grader, name, shot.answer, response, choices=shot.choices)
        assert said.grade.verdict is Verdict.CORRECT, (shot, said)


def test_prompts_have_as_many_examples_as_the_protocol_says():
    assert prompt(TASKS["gsm8k"], SUM, "few_shot").count("Q: ") == 9
    assert prompt(TASKS["gsm8k"], SUM, "few_shot").endswith("\n\nQ: What is 1+1?\nA:")
    assert prompt(TASKS["gsm8k"], SUM, "few_shot", shots=2).count("Q: ") == 3
    assert prompt(TASKS["math"], SUM, "few_shot").count("Problem:\n") == 5
    assert prompt(TASKS["gpqa_diamond"], SUM, "few_shot").count("Problem:\n") == 6
    assert prompt(TASKS["amc23"], SUM, "few_shot") == prompt(PLAIN, SUM, "few_shot") == "Q: What is 1+1?\nA:"
    assert prompt(TASKS["gsm8k"], SUM, "cpt_base") == "Question:\nWhat is 1+1?\nAnswer:\n"
    lettered = SUM | {"choices": json.dumps(["2", "3"])}
    assert prompt(TASKS["sat"], lettered, "few_shot").endswith("Problem:\nWhat is 1+1?\n(A) 2\n(B) 3\n\nSolution:")


def test_thousands_are_one_number_but_for_the_papers_harness(grader):
    response = "He has 1,000 + 234 = 1,234 now. The answer is 1,234."
    said = verdict(grader, "gsm8k", "1234", response)
    assert (said.grade.verdict, said.other.verdict) == (Verdict.CORRECT, Verdict.INCORRECT)
    paper = verdict(grader, "gsm8k", "1234", response, protocol="paper")
    assert (paper.grade.verdict, paper.other.verdict) == (Verdict.INCORRECT, Verdict.CORRECT)
    assert paper.grade.extracted == "234."
    assert verdict(grader, "gsm8k", "234", response).other.verdict is Verdict.CORRECT


# -- the paper's harness, and other prompts ---------------------------------------------------------------------------


def test_verdicts_under_the_papers_protocol_are_those_of_its_harness(grader):
    """Nearly seven hundred responses of thirteen benchmarks, on which the harness itself was run."""
    differ = []
    for name in TASKS:
        rows = [row for row in VERDICTS if row["benchmark"] == name]
        items = [
            {"question": row["question"], "solution": row.get("solution"), "choices": json.dumps(row["choices"])}
            | {"answer": chr(ord("A") + row["choices"].index(row["answer"])) if name == "tabmwp" else row["answer"]}
            if "choices" in row
            else row | {"choices": None}
            for row in rows
        ]
        found = judge(TASKS[name], "few_shot", "paper", items, [row["response"] for row in rows], grader)
        differ += [
            (row, one.grade)
            for row, one in zip(rows, found, strict=True)
            if (one.grade.verdict == "CORRECT") != row["right"]
        ]
    assert differ == [] and len(VERDICTS) >= 690 and 0.3 < sum(row["right"] for row in VERDICTS) / len(VERDICTS) < 0.5


@pytest.mark.parametrize("row", PROMPTS, ids=lambda row: f"{row['protocol']}-{row['benchmark']}")
def test_prompts_are_those_of_the_harness_to_the_last_character(row):
    one = KNOWN[row["benchmark"]].adapter(row["row"])
    item = {
        "question": one.question,
        "subject": one.subject,
        "choices": json.dumps(one.choices) if one.choices else None,
    }
    how = released(row["protocol"], row["benchmark"])
    assert how
    asked = prompt(task_of(row["benchmark"]), item, "few_shot", how=how)
    assert asked.endswith(row["ends"]) and how.stop == tuple(row["stop"])
    assert hashlib.sha256(asked.encode()).hexdigest() == row["sha256"]


def test_every_benchmark_of_the_paper_is_asked_and_ruled_on_as_there():
    asked = {name for name in TASKS if released("paper", name)}
    assert asked == {name for name, task in TASKS.items() if task.harness} and len(asked) == 13
    assert {name for name in TASKS if released("lm-eval", name)} == {"gsm8k", "math", "math500", "mmlu_stem"}
    assert released(None, "gsm8k") is released("paper", "aime24") is None
    counts = {name: shots(how) for name in asked if (how := released("paper", name))}
    assert counts["gsm8k"] == counts["tabmwp"] == 8 and counts["amc23"] == 0
    assert {counts[name] for name in ("math", "sat", "mathqa", "mmlu_stem", "ocw")} == {4}
    assert "MIT License" in (FOLDER / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "answer", "response", "ours", "theirs"),
    [
        ("gsm8k", "5", "The answer is 500.", Verdict.INCORRECT, Verdict.CORRECT),
        ("gsm8k", "5", "The answer is 0.05.", Verdict.INCORRECT, Verdict.CORRECT),
        ("math500", "3.1416", r"So $\boxed{3.1415}$.", Verdict.INCORRECT, Verdict.CORRECT),
        ("ocw", "1.6", "The final answer is 1.594. I hope it is correct.", Verdict.CORRECT, Verdict.INCORRECT),
        ("ocw", "1.6", "The final answer is 1.6.", Verdict.CORRECT, Verdict.INCORRECT),
        ("ocw", "1.6", "The final answer is 1.600001. I hope it is correct.", Verdict.CORRECT, Verdict.CORRECT),
        ("sat", "B", "The final answer is being sought.", Verdict.UNPARSED, Verdict.CORRECT),
    ],
)
def test_what_the_protocol_changes(grader, name, answer, response, ours, theirs):
    choices = ["1", "2", "3"] if name == "sat" else None
    said = verdict(grader, name, answer, response, choices=choices)
    assert (said.grade.verdict, said.other.verdict) == (ours, theirs)
    swapped = verdict(grader, name, answer, response, protocol="paper", choices=choices)
    assert (swapped.grade, swapped.other) == (said.other, said.grade)
    assert verdict(grader, name, answer, response, protocol="lm-eval", choices=choices).other is None


def test_an_answer_that_takes_too_long_is_wrong_in_the_harness_too():
    with Grader(workers=1, limit_seconds=0.5) as one:
        said = verdict(one, "math500", "5", r"\boxed{(x-5)^{6000}-(x-a)^{5999}}", protocol="paper")
    assert (said.grade.verdict, said.grade.reason) == (Verdict.UNPARSED, "too_hard")


def test_nothing_that_a_model_writes_is_executed(grader, tmp_path):
    trap = tmp_path / "trap"
    for text in (f"__import__('pathlib').Path('{trap}').touch()", f"open('{trap}', 'w').close()", "9**9**9"):
        said = verdict(grader, "ocw", "1", f"The final answer is {text}. I hope it is correct.", protocol="paper")
        assert said.grade.verdict is not Verdict.CORRECT
        assert (
            verdict(grader, "math500", "1", rf"\boxed{{{text}}}", protocol="paper").grade.verdict is not Verdict.CORRECT
        )
    assert not trap.exists()


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("2,3", "2"), ("1,234", "1234"), ("2 3", "23"), (r"\frac12", "1/2"), ("36.", "3"), (r"11\sqrt2", "11"),
        (r"x \in (2,5)", "x*in(2, 5)"), ("5 apples", "5*(a*(p*(p*(l*(e*s)))))"), (r"90^{\circ}", "90**circ"),
        (r"\log_2 8", "log(8, 2)"), (r"\text{Yes}", "text*(Y*(e*s))"), ("x<2", "x < 2"), ("2**2", "2"),
        ("(1,2)", None), ("[0,1)", None), (r"12\%", None), (r"\{1,2\}", None), ("", None), ("(" * 500, None),
    ],
)  # fmt: skip
def test_latex_is_read_as_sympy_read_it(text, read):
    """What sympy 1.12 with ANTLR 4.11 says of each; of 1,265 references and answers it says another thing of none."""
    if read is None:
        with pytest.raises((LatexError, ValueError)):
            parse_latex(text)
    else:
        assert str(parse_latex(text)) == read


def test_a_benchmark_that_the_harness_lacks_has_one_ruling(grader):
    assert verdict(grader, "aime24", "2", "It is 2.").other is None
    assert verdict(grader, "math500", "2", "It is 2.", template="cpt_base").other is None


@pytest.mark.parametrize(
    ("name", "answer", "response", "wanted"),
    [
        ("mawps", "0.333", "The answer is 0.3333.", Verdict.CORRECT),
        ("gsm8k", "1319", "The answer is 1320.", Verdict.INCORRECT),
        ("asdiv", "Yes", "There are 12 and he needs 10. The answer is Yes.", Verdict.CORRECT),
        ("asdiv", "2:3", "He has 4 and she has 6. The answer is 2:3.", Verdict.CORRECT),
        ("asdiv", "3/4", "The answer is 3/4.", Verdict.CORRECT),
        ("ocw", "1.6", "The final answer is 1.594. I hope it is correct.", Verdict.CORRECT),
        ("ocw", "1.6", "The final answer is 1.5. I hope it is correct.", Verdict.INCORRECT),
        ("ocw", "4.5e33", r"The final answer is $4.53 \times 10^{33}$. I hope it is correct.", Verdict.CORRECT),
        ("ocw", "4.5e33", r"The final answer is $4.5 \times 10^{32}$. I hope it is correct.", Verdict.INCORRECT),
        ("ocw", "1.6", r"The final answer is $1.6 \mathrm{~cm}$. I hope it is correct.", Verdict.CORRECT),
    ],
)
def test_tolerances(grader, name, answer, response, wanted):
    assert verdict(grader, name, answer, response).grade.verdict is wanted


@pytest.mark.parametrize(
    ("name", "answer", "response"),
    [
        ("aime24", "204", r"So the answer is $\boxed{204}$. (Here we used 3 cases.)"),
        ("aime25", "588", r"Hence \boxed{588}. Problem 2."),
        ("amc23", "27", r"It is \boxed{27} by case 1."),
        ("gsm8k", "18", "The answer is 18. I checked it 2 times."),
        ("gsm8k", "18", r"So \boxed{18}. That took 3 steps."),
        ("tabmwp", "18", "The answer is 18, see row 2."),
        ("ocw", "4.5e33", r"Final Answer: The final answer is $\boxed{4.5e33}$. I hope it is correct."),
        ("ocw", "0.5", r"The final answer is $\boxed{0.502}$. I hope it is correct."),
        ("ocw", "0.5", "The final answer is **$x = 0.502$**. I hope it is correct."),
    ],
)
def test_a_box_or_an_announced_answer_beats_the_last_number(grader, name, answer, response):
    assert verdict(grader, name, answer, response).grade.verdict is Verdict.CORRECT


def test_the_papers_harness_takes_the_last_number(grader):
    said = verdict(grader, "amc23", "27", r"It is \boxed{27} by case 1.", protocol="paper")
    assert (said.grade.verdict, said.grade.extracted) == (Verdict.INCORRECT, "1.")
    assert said.other.verdict is Verdict.CORRECT


def test_quantities():
    assert quantity("-3.5") == -3.5 and quantity("1e11") == 1e11 and quantity(r"2 \cdot 10^{3}") == 2000
    assert quantity("12 m/s") == 12 and quantity("1,234") == 1234
    assert quantity("x + 1") is quantity("") is quantity(r"\frac{1}{2}") is quantity("1" * 200) is None


def test_options_are_found_by_letter_and_by_name(grader):
    assert extract("So it is Ben.", "option", ["Ada", "Ben"]) == "B"
    assert extract("Ben has more than Ada. The answer is (B).", "option", ["Ada", "Ben"]) == "B"
    assert extract("no one", "option", ["Ada", "Ben"]) is None
    assert extract("more than 10", "option", ["1", "10"]) == "B"
    assert verdict(grader, "tabmwp", "B", "Ben", choices=["Ada", "Ben"]).grade.verdict is Verdict.CORRECT


def test_minerva_takes_what_stands_before_the_hope():
    said = r"Final Answer: The final answer is $\frac{1}{2}$. I hope it is correct."
    assert extract(said, "minerva") == r"\frac{1}{2}"
    assert extract("The final answer is 3.5. I hope it is correct.", "minerva") == "3.5"
    assert extract(r"So \boxed{4}.", "minerva") == "4"
