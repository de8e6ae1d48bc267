"""The answers of a language model that a build has had so far, in a file: asked again, it begins where it was.

An answer counts once it is stored: a process that is killed loses none that it handed over."""

import json
import sqlite3
from dataclasses import asdict
from pathlib import Path
from typing import Any

from evaluation.samplers.completions_client import Answer
from manifests.errors import UserError
from manifests.identity import json_digest

FILE = "answers.sqlite3"
_TABLE = """
CREATE TABLE IF NOT EXISTS answers (document TEXT, request TEXT, answer TEXT, PRIMARY KEY (document, request))
"""


class Answers:
    """Answers by document and request, in `folder`."""

    def __init__(self, folder: Path):
        self._path = folder / FILE
        self._database = sqlite3.connect(self._path, isolation_level=None)
        for setting in ("journal_mode=WAL", "synchronous=NORMAL"):  # a killed process loses nothing, one fsync in many
            self._database.execute(f"PRAGMA {setting}")
        self._database.execute(_TABLE)

    def __enter__(self) -> "Answers":
        return self

    def __exit__(self, *_: object) -> None:
        self._database.close()

    def get(self, document: str, request: dict[str, Any]) -> Answer | None:
        """The answer to `request` about `document`, if there was one."""
        query = "SELECT answer FROM answers WHERE document = ? AND request = ?"
        found = self._database.execute(query, (document, json_digest(request))).fetchone()
        return Answer(**json.loads(found[0])) if found else None

    def put(self, document: str, request: dict[str, Any], answer: Answer) -> None:
        """Store it. UserError where there is no room."""
        row = document, json_digest(request), json.dumps(asdict(answer))
        try:
            self._database.execute("INSERT OR REPLACE INTO answers VALUES (?, ?, ?)", row)
        except sqlite3.Error as error:
            hint = "Make room, and run the same command again: it asks for the rest"
            raise UserError(f"cannot keep answers in {self._path}: {error}", hint) from error


def answers_kept(folder: Path) -> int:
    """How many answers `folder` holds."""
    if not (folder / FILE).exists():
        return 0
    database = sqlite3.connect(folder / FILE)
    try:
        return database.execute("SELECT count(*) FROM answers").fetchone()[0]
    except sqlite3.Error:  # killed before the table was made
        return 0
    finally:
        database.close()
