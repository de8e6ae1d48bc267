"""Prompt templates by name: how a problem is put to a model, in RL and in evaluation alike.

The layouts are those of the OctoThinker runs (recipe reference §7.3), in our own words. A template is a pure function
of the problem; options of a multiple-choice problem are part of the problem (`with_choices`).
"""

from collections.abc import Sequence

from manifests.errors import UserError

NAMES = ("cpt_base", "ua_base", "orz_base")
FEW_SHOT = "few_shot"
"""Stands where a template's name may: each benchmark is asked as its task says (`evaluation.tasks`)."""

_ORZ = (
    "A conversation between a User and an Assistant. The User poses a problem; the Assistant first thinks it through "
    "step by step and then gives the final answer.\n"
    "User: Solve the problem below and put your final answer in \\boxed{{}}.\n{question}\nAssistant:"
)


def render(template: str, question: str) -> str:
    """The prompt for `question` under the template called `template`; UserError when there is none of that name."""
    match template:
        case "cpt_base":
            return f"Question:\n{question}\nAnswer:\n"
        case "ua_base":
            return f"User:\n{question}\nAssistant:\n"
        case "orz_base":
            return _ORZ.format(question=question)
        case _:
            raise UserError(f"no prompt template {template!r}", f"There are {', '.join(NAMES)}")


def with_choices(question: str, choices: Sequence[str]) -> str:
    """`question` followed by its options, one per line, lettered from (A)."""
    return "\n".join([question, *(f"({chr(ord('A') + i)}) {choice}" for i, choice in enumerate(choices))])
