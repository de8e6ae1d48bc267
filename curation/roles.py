"""What documents are for, which files hold them, and how a record becomes one: the closed choices of a source."""

from typing import Literal

from evaluation.formats import Format

__all__ = ["ANSWERED", "PROSE", "Adapter", "Format", "Role"]

Role = Literal["web", "qa", "long_cot", "instruct", "code", "general", "rl"]


Adapter = Literal[
    "columns", "text", "html", "gsm8k", "boxed", "numina", "openr1", "distilled", "chat", "simplerl", "annotation"
]


Structure = Literal["markdown"]


ANSWERED: tuple[Role, ...] = ("qa", "long_cot")
"""Roles whose text is made of a question and a response."""


PROSE: tuple[Role, ...] = ("web", "general")
"""Roles that quality rules for pages apply to."""
