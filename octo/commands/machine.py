"""`octo doctor`: what this machine can do."""

from octo.commands.groups import app
from octo.commands.options import JsonOption
from octo.printing import show_rows


@app.command()
def doctor(json_: JsonOption = False) -> None:
    """Show which backends, samplers and places work on this machine, and what the others lack."""
    from training.doctor import doctor as examine

    show_rows(examine(), "What works on this machine", json_)
