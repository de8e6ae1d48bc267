"""Prompt templates by name: how a problem is put to a model, in RL and in evaluation alike.

The layouts are those of the OctoThinker runs (arXiv 2506.20512), in our own words. A template is a pure function
of the problem and of the pass over the prompts; options of a multiple-choice problem are part of the problem
(`with_choices`).

    cpt_base    Question: … Answer:                       the simple template
    ua_base     User: … Assistant:
    orz_base    a statement of who speaks, an instruction to box the answer; the complex template, and for validation
    icl_base    four worked examples before the first pass over the prompts, then cpt_base
    base_0221   reasoning and answer in tags, as in DeepSeek-R1
"""

from collections.abc import Sequence
from typing import Literal, assert_never

TemplateName = Literal["cpt_base", "ua_base", "orz_base", "icl_base", "base_0221"]
"""Each has a case in `render`."""
FewShot = Literal["few_shot"]
Asked = Literal[TemplateName, FewShot]
FEW_SHOT: FewShot = "few_shot"
"""Stands where a template's name may: each benchmark is asked as its task says (`evaluation.tasks`)."""

_ORZ = (
    "A conversation between a User and an Assistant. The User poses a problem; the Assistant first thinks it through "
    "step by step and then gives the final answer.\n"
    "User: Solve the problem below and put your final answer in \\boxed{{}}.\n{question}\nAssistant:"
)


_TAGS = (
    "A conversation between a User and an Assistant. The Assistant first reasons in its mind and then answers. The "
    "reasoning stands within <think> </think>, the answer within <answer> </answer>, with the final result in "
    "\\boxed{{}}.\nUser: {question}\nAssistant: <think>"
)
_EXAMPLES = (
    (
        "What is the sum of the solutions of $x^2 - 7x + 10 = 0$?",
        "We have $x^2 - 7x + 10 = (x - 2)(x - 5)$, so the solutions are 2 and 5. Their sum is $\\boxed{7}$.",
    ),
    (
        "A rectangle is three times as long as it is wide and has a perimeter of 48. What is its area?",
        "With width $w$ the perimeter is $2(w + 3w) = 8w = 48$, so $w = 6$ and the length is 18. The area is "
        "$6 \\cdot 18 = \\boxed{108}$.",
    ),
    (
        "Two fair dice are rolled. What is the probability that both show an even number?",
        "Each die is even with probability $\\frac{1}{2}$, independently: "
        "$\\frac{1}{2} \\cdot \\frac{1}{2} = \\boxed{\\frac{1}{4}}$.",
    ),
    (
        "Find the remainder of $3^{20}$ on division by 8.",
        "Since $3^2 = 9$ leaves the remainder 1, so does $3^{20} = (3^2)^{10}$. The remainder is $\\boxed{1}$.",
    ),
)
"""As many as the Minerva prompt has, and of its kinds; none is a benchmark's."""
_ICL = "Solve each problem step by step and put the final answer in \\boxed{}.\n\n"


def render(template: TemplateName, question: str, epoch: int = 0) -> str:
    """The prompt for `question` under the template called `template`, in the pass `epoch` (from 0) over the prompts."""
    match template:
        case "cpt_base":
            return _simple(question)
        case "ua_base":
            return f"User:\n{question}\nAssistant:\n"
        case "orz_base":
            return _ORZ.format(question=question)
        case "icl_base":
            return _examples(epoch) + _simple(question)
        case "base_0221":
            return _TAGS.format(question=question)
        case _:
            assert_never(template)


THINK = "<think>"


def with_thought(template: Asked, response: str) -> str:
    """`response` with the `<think>` that the prompt ends with: what a thought holds that is not ended is no answer."""
    opened = template != FEW_SHOT and render(template, "").rstrip().endswith(THINK)
    return THINK + response if opened else response


def _examples(epoch: int) -> str:
    """What stands before the problem in the first pass."""
    return "" if epoch else _ICL + "".join(f"{_simple(asked)}{worked}\n\n" for asked, worked in _EXAMPLES)


def _simple(question: str) -> str:
    return f"Question:\n{question}\nAnswer:\n"


def with_choices(question: str, choices: Sequence[str]) -> str:
    """`question` followed by its options, one per line, lettered from (A)."""
    return "\n".join([question, *(f"({chr(ord('A') + i)}) {choice}" for i, choice in enumerate(choices))])
