"""The prompt of `octo sql` on a terminal."""

import sys

from prompt_toolkit import PromptSession
from prompt_toolkit.completion import WordCompleter
from prompt_toolkit.history import FileHistory, InMemoryHistory

from manifests.catalog import Catalog
from manifests.errors import UserError
from octo.printing import write


def prompt(catalog: Catalog) -> None:
    """Read queries from a terminal, with history and completion of keywords, tables and columns; Ctrl-D ends it."""
    named = catalog.query("SELECT DISTINCT table_name, column_name FROM information_schema.columns")
    keywords = ["SELECT", "FROM", "WHERE", "GROUP BY ALL", "ORDER BY", "LIMIT", "DESCRIBE", "SHOW TABLES", "count(*)"]
    words = sorted({*keywords, *named["table_name"].to_pylist(), *named["column_name"].to_pylist()})
    store = catalog.store
    history = FileHistory(store.full("sql_history")) if store.is_local else InMemoryHistory()
    session: PromptSession[str] = PromptSession(history=history, completer=WordCompleter(words, ignore_case=True))
    while True:
        try:
            line = session.prompt("octo> ").strip().rstrip(";")
        except EOFError:
            return
        except KeyboardInterrupt:
            continue
        if line in ("exit", "quit", ".exit", ".quit"):
            return
        try:
            if line:
                write(catalog.query(line), "table")
        except UserError as error:
            print(f"octo: {error}", file=sys.stderr)
