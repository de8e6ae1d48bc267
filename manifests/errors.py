"""The one exception for what a user can put right.

`UserError` says what is wrong, where, and what to do next, in one line; the front door prints it on stderr without a
traceback. Everything else that is raised is a fault of ours and keeps its traceback.
"""


class UserError(Exception):
    """Something the user can put right. `hint` is the next thing to do, as a sentence or a command."""

    def __init__(self, what: str, hint: str = ""):
        self.what, self.hint = what, hint
        super().__init__(f"{what}. {hint}" if hint else what)
