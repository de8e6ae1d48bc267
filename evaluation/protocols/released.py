r"""Prompts of other harnesses, character for character, by the name of a protocol.

    paper     GAIR-NLP/OctoThinker, `eval/`, commit 2ee2b49: the examples, the layout of the question and the stop
              string of each of its thirteen benchmarks (its configuration leaves out math500; here it has math's)
    lm-eval   EleutherAI/lm-evaluation-harness, commit 4e7e0d4: gsm8k_cot (gsm8k), minerva_math (math, math500) and
              mmlu_flan_cot_zeroshot (mmlu_stem), its generative task without examples; that of log-likelihoods needs
              what no sampler here gives. Prompts and stop strings only: verdicts are this project's, and the length
              is the recipe's, where that harness stops after 256 tokens

Other benchmarks have no prompt there. Two things are made from the item and not read from its file: the full stop that
the paper's harness puts behind a body of SVAMP that lacks one, and the options of MathQA, which it cuts at every comma.
Leaves out verdicts: `evaluation.grading.paper`.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

ProtocolName = Literal["paper", "lm-eval"]
"""Each has its prompts here."""

Item = dict[str, Any]
FOLDER = Path(__file__).parent / "prompts"
ASKED = "What of the following is the right choice? Explain your answer."
_NO_STOP = re.compile(r"(?<![.,?!]) (?=(?:How|What|Who|Which|Total|If|In|Did|After|On|Each|For|When|Does|Is)\b)")
_ASKS = re.compile(r"(?:How|What|Who|Which)\b")
"""Where the question of an item of SVAMP begins whose body has no full stop: true of all 1,000 of them."""


@dataclass(frozen=True)
class Released:
    """How a benchmark is asked: the examples (a file), what stands between them and the question, the question itself,
    and the strings that end a response."""

    examples: str
    between: str
    ask: Callable[[Item], str]
    stop: tuple[str, ...]


def released(protocol: ProtocolName | None, benchmark: str) -> Released | None:
    """How `benchmark` is asked under `protocol`, None where it is not there."""
    return _ALL[protocol].get(benchmark) if protocol else None


def prompt(how: Released, item: Item) -> str:
    """What the model is asked. `item` is a row of the family `items`."""
    return _examples(how.examples) + how.between + how.ask(item) if how.examples else how.ask(item)


def shots(how: Released) -> int:
    """How many examples there are."""
    return len(re.findall(r"(?m)^(?:Q:|Problem:)", _examples(how.examples))) if how.examples else 0


@cache
def _examples(name: str) -> str:
    return (FOLDER / f"{name}.txt").read_text(encoding="utf-8")


def _choices(item: Item) -> list[str]:
    return json.loads(item["choices"]) if item["choices"] else []


def _lettered(item: Item, between: str) -> str:
    return between.join(f"({chr(ord('A') + i)}) {choice}" for i, choice in enumerate(_choices(item)))


# -- the paper -----------------------------------------------------------------------------------------------------


def _words(item: Item) -> str:
    return f"Q: {item['question']}\nA:"


def _svamp(item: Item) -> str:
    text = item["question"]
    places = [found.start() for found in _NO_STOP.finditer(text)]
    if _ASKS.match(re.split(r"(?<=[.?!]) ", text)[-1]):
        places = []
    return _words(item | {"question": f"{text[: places[-1]]}.{text[places[-1] :]}" if places else text})


def _amc(item: Item) -> str:
    return f"Q: {item['question']}\nA: "  # the blank is the harness's own


def _table(item: Item) -> str:
    first, _, rest = item["question"].partition("\n")
    title = first.removeprefix("Table: ") if first.startswith("Table: ") else ""
    named = f'regarding "{title}" ' if title else ""
    asked = f"Read the following table {named}and answer a question:\n{rest if title else item['question']}"
    choices = _choices(item)
    options = f" Please select from the following options: {choices}" if choices else ""
    return f"Q: {asked}{options}\nA:"


def _problem(item: Item) -> str:
    return f"Problem:\n{item['question']}\n\nSolution:"


def _course(item: Item) -> str:
    return f"Problem:\n{item['question']}\nSolution:"


def _choice(item: Item) -> str:
    return _course({"question": f"{item['question']}\n{ASKED}\n{_lettered(item, ', ')}"})


def _sat(item: Item) -> str:
    return _course({"question": f"{item['question']}\n{ASKED}\n{_lettered(item, ' ')}"})


def _mathqa(item: Item) -> str:
    return _choice(item | {"question": item["question"][:1].upper() + item["question"][1:]})


_Q, _P = ("\nQ:",), ("\nProblem:",)
_PAPER = {
    name: Released("octothinker_words", "\n\n", ask, _Q)
    for name, ask in (("gsm8k", _words), ("asdiv", _words), ("mawps", _words), ("svamp", _svamp), ("tabmwp", _table))
} | {
    "amc23": Released("", "", _amc, _Q),
    "math": Released("octothinker_math", "\n\n", _problem, _P),
    "math500": Released("octothinker_math", "\n\n", _problem, _P),
    "olympiad_bench": Released("octothinker_math", "\n\n", _problem, _P),
    "sat": Released("octothinker_choice", "\n\n", _sat, _P),
    "mmlu_stem": Released("octothinker_choice", "\n\n", _choice, _P),
    "mathqa": Released("octothinker_mathqa", "\n\n\n", _mathqa, _P),
    "ocw": Released("octothinker_ocw", "\n\n", _course, _P),
}


# -- lm-evaluation-harness -----------------------------------------------------------------------------------------


def _step_by_step(item: Item) -> str:
    subject = (item.get("subject") or "").replace("_", " ")
    about = f"The following are multiple choice questions (with answers) about {subject}.\n\n" if subject else ""
    return f"{about}Q: {item['question'].strip()}\n{_lettered(item, ' ')}\nA: Let's think step by step."


_LM_EVAL = {
    "gsm8k": Released("octothinker_words", "\n\n", _words, ("Q:", "</s>", "<|im_end|>")),
    "math": Released("lm_eval_math", "\n\n", _problem, ("Problem:",)),
    "math500": Released("lm_eval_math", "\n\n", _problem, ("Problem:",)),
    "mmlu_stem": Released("", "", _step_by_step, ("</s>", "Q:", "<|im_end|>")),
}
_ALL: dict[ProtocolName, dict[str, Released]] = {"paper": _PAPER, "lm-eval": _LM_EVAL}
