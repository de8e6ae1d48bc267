"""Where the answer of a response stands: rows of prose with a reference and whether it is to be called right."""

import time

import pytest

from evaluation.grading.answers import Verdict, grade
from evaluation.grading.extraction import continues, extract

CASES = [
    ("chain", "so $x=\\boxed{2}$ or $x=\\boxed{3}$", "2,3", True),
    ("chain", "so $x=\\boxed{2}$ or $x=\\boxed{3}$", "3", False),
    ("boxed", "\\boxed{2}, \\boxed{3}, and \\boxed{5}", "2,3,5", True),
    ("boxed", "\\boxed{1} papers and \\boxed{2} bins", "1,2", True),
    ("boxed", "\\boxed{1} no no no no no \\boxed{2}", "1,2", False),
    ("boxed", "\\boxed{5} no, \\boxed{6}", "6", True),
    ("boxed", "$$\\boxed{(3, 3)} \\text{ for part (a) and } \\boxed{(1, 1)}$$", "(3,3),(1,1)", True),
    (
        "boxed",
        "\\($y_1 = \\boxed{-2(x - 1)^2 + 5} \\) and \\( y_2 = \\boxed{3(x + 2)^2 - 2} \\) ",
        "y_{1}=-2 x^{2}+4 x+3, y_{2}=3 x^{2}+12 x+10",
        True,
    ),
    ("boxed", "$$\\boxed{k = 45} \\quad \\text{and} \\quad \\boxed{n = 2}$$", "k = 45, n = 2", True),
    ("boxed", "\\boxed{004}, so \\boxed{004}", "4", True),
    ("chain", "So the answer is $\\boxed{204}$. (Here we used 3 cases.)", "204", True),
    ("chain", "588 is \\boxed{588}. Problem 2.", "588", True),
    ("chain", "The answer is 18. I checked it 2 times.", "18", True),
    ("chain", "Hence the probability is $\\frac{1}{2}$.", "\\frac12", True),
    ("chain", "Hence the probability is $\\frac{1}{2}$.", "2", False),
    ("chain", "Thus we get $\\sqrt{2}$", "2", False),
    ("chain", "Thus we get $(3,4)$", "4", False),
    ("chain", "Thus we get $\\pi-1$", "1", False),
    ("chain", "Thus we get $\\pi-1$", "\\pi-1", True),
    ("chain", "Therefore, the value is $3x+1$.", "3x+1", True),
    ("chain", "**Final Answer**\n\n$3x+1$", "3x+1", True),
    ("chain", "### Final Answer\n3x+1", "3x+1", True),
    ("chain", "Hence $x = 7$.", "7", True),
    ("chain", "The answer is 20 - 12 = 8 apples.", "8", True),
    ("chain", "The answer is 20 - 12 = 8 apples.", "20", False),
    ("chain", "The answer is not 5, it is 6", "6", True),
    ("chain", "The answer is negative 2", "-2", True),
    ("chain", "The answer is 1 million", "1000000", True),
    ("chain", "The answer is 1 million", "1", False),
    ("chain", "Final Answer: The largest $n$ is 34.", "34", True),
    ("chain", "The answer is $69$,$84$", "69,84", True),
    ("chain", "The answer is $69$, $84$.", "69", False),
    ("chain", "The answer is $\\$36$.", "36", True),
    ("chain", "The answer is \\$36.", "36", True),
    ("chain", "The answer is\n\\[ \\frac{3}{4} \\]", "\\frac34", True),
    ("chain", "put it in \\boxed{}. The answer is 3.", "3", True),
    ("chain", "put it in \\boxed. The answer is 3.", "3", True),
    ("chain", "\\boxed 3", "3", True),
    ("chain", "<think>maybe \\boxed{2}</think> The answer is 3.", "3", True),
    ("boxed", "<think>maybe \\boxed{2} hmm", "2", False),
    ("chain", "<think>maybe \\boxed{2} hmm", "2", False),
    ("minerva", "Final Answer: The final answer is $\\boxed{4.5e33}$. I hope it is correct.", "4.5e33", True),
    ("minerva", "The final answer is **$4.5$**. I hope it is correct.", "4.5", True),
    ("minerva", "The final answer is $x = 0.502$. I hope it is correct.", "0.502", True),
    ("minerva", "The final answer is $L = 3.75e9$. I hope it is correct.", "3.75e9", True),
    (
        "chain",
        "as \\boxed{200} and then \\boxed{255} So. Final Answer: The final answer is $10,455$. I hope it is correct.",
        "10455",
        True,
    ),
    ("chain", "The answer is 5, or possibly 6.", "5", False),
    ("chain", "The answer is 5 or 6.", "6", False),
    (
        "chain",
        "Weng earns 12/60 = $<<12/60=0.2>>0.2 per minute.\nIn 50 minutes 0.2 x 50 = $<<0.2*50=10>>10.\nA: 10",
        "10",
        True,
    ),
    ("chain", "It costs $2 each and she makes $26 in total", "26", True),
    ("chain", "The answer is $5$ because $x=7$.", "5", True),
    ("chain", 'The final answer is "$12 $ and $13 $". I hope it is correct.', "12,13", True),
    ("chain", "so 28 percent", "28\\%", True),
    ("chain", "$28$ percent", "28\\%", True),
    ("chain", "Therefore $x \\geq 5$ is the solution.", "x\\ge5", True),
    ("chain", "so the number is 10 which is 1,000.99m²", "1000.99", True),
    ("chain", "Soucis : 2,74 $ a..", "2.74", True),
    ("chain", "2/3 Therefore, the probability that Alice wins the game is 2/3. <|im_start|>user", "2/3", True),
    ("chain", "the ordered pair $(x, y)$ that solves the system is $(7, 6)$. ", "(7,6)", True),
    ("chain", "The answer is (1, 2).", "(1,2)", True),
    ("chain", "The answer is \\frac{1}{2}.", "\\frac12", True),
    ("chain", "The answer is 2x+3.", "2x+3", True),
    ("chain", "The answer is 3:4.", "3:4", True),
    ("chain", "The answer is June 20.", "June 20", True),
    ("chain", "Answer: x = 5", "5", True),
    ("chain", "AZYUK2A", "2", False),
]
"""Rule, response, reference, right or not. What is wrong of a reference is a part of the answer, or one of two."""
OPTIONS = ["10", "12", "14"]


@pytest.mark.parametrize(("rule", "response", "reference", "is_right"), CASES)
def test_the_last_complete_answer_is_taken(rule, response, reference, is_right):
    assert (grade(response, reference, rule).verdict is Verdict.CORRECT) == is_right


@pytest.mark.parametrize(
    ("response", "letter"),
    [
        ("The answer is $12$, which is option (B), not (C).", "B"),
        (r"Not (A) and not (C). So \boxed{12}", "B"),
        ("the answer is (b)", "B"),
        ("option B is correct", "B"),
        ("The answer is choice B", "B"),
        ("The answer is $12$.", "B"),
        ("I think (B) is correct, not (C)", "B"),
        ("It cannot be (A)", None),
        (r"<think>\boxed{A}", None),
        ("A man walks home.", None),
    ],
)
def test_letters(response, letter):
    assert extract(response, "choice", OPTIONS) == letter


@pytest.mark.parametrize(
    "echo", [r"\boxed{}", r"\boxed", r"\boxed{...}", r"\boxed{\text{answer}}", r"\boxed{your answer}"]
)
@pytest.mark.parametrize("answer", ["The answer is 3.", r"So \boxed{3}.", "It is $3$"])
def test_an_empty_box_or_one_of_the_prompt_hides_nothing(echo, answer):
    assert extract(f"I put the final answer in {echo}. {answer}") == "3"
    if "boxed" in answer:
        assert extract(f"{answer} I put it in {echo}") == "3"


@pytest.mark.parametrize("between", [", ", " and ", r" \text{ or } ", "$ and $", ",\\quad ", "\n", r"$ or $x=", "; "])
def test_boxes_that_are_joined_are_one_list(between):
    assert extract(rf"$x=\boxed{{2}}{between}\boxed{{3}}$", "boxed") == "2, 3"


@pytest.mark.parametrize("between", [" is wrong. It is ", " no, ", ". Then, after a long way, we see that it must be "])
def test_other_boxes_are_not(between):
    assert extract(rf"\boxed{{2}}{between}\boxed{{3}}", "boxed") == "3"


SHELLS = [r"\boxed{%s}", "$%s$", "**$%s$**", r"\(%s\)", r"**\boxed{%s}**", "$x = %s$", "$%s$."]


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("answer", ["4.5e33", r"\frac{1}{2}", r"3\sqrt{2}", "(1,2)"])
@pytest.mark.parametrize(
    "sentence", ["The final answer is %s. I hope it is correct.", "The answer is %s", "Hence it is %s"]
)
def test_shells_are_peeled_whatever_the_rule(shell, answer, sentence):
    said = sentence % (shell % answer)
    rules = ("minerva", "chain") if "I hope" in sentence else ("chain",)
    assert {grade(said, answer, rule).verdict for rule in rules} == {Verdict.CORRECT}


@pytest.mark.parametrize("wrong", ["5 or 6", "5 and 6", "5, 6", "6 or 5", "either 5 or 6", "5, or perhaps 6"])
@pytest.mark.parametrize("form", ["The answer is %s.", r"\boxed{%s}", "Final Answer: %s"])
def test_two_candidates_earn_for_neither(wrong, form):
    assert {grade(form % wrong, gold).verdict for gold in ("5", "6")} <= {Verdict.INCORRECT, Verdict.UNPARSED}


def test_what_goes_on_behind_the_last_box():
    assert continues(r"\boxed{5} and so on") and continues(r"\boxed{5} \boxed{6")
    assert not continues(r"so $\boxed{\frac{1}{2}}$.") and not continues("no box")


@pytest.mark.parametrize(
    "piece",
    ["1 1/2 ", "0.", "1 = ", "$1$, ", r"\boxed{1}, ", "answer is 5 ", "final answer is ", "(A) ", r"\(1\) ", "5 or "],
)
def test_extraction_takes_no_longer_than_the_text_is_long(piece):
    start = time.process_time()
    for rule in ("chain", "minerva", "choice", "boxed", "phrase"):
        extract("answer is " + piece * (40_000 // len(piece)), rule)
    assert time.process_time() - start < 10
