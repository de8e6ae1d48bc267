"""What the Hugging Face hub's client raises when the hub refuses or cannot be reached.

The client documents `HfHubHTTPError` for what the hub answers; a lost connection it lets through as its HTTP library
raises it. That library changed from requests (0.x) to httpx (1.x) to httpx2 (2.x), so it is not named here: it is taken
from the base class of `HfHubHTTPError`. Leaves out the local cache, whose errors are OSErrors.
"""


def hub_errors() -> tuple[type[Exception], ...]:
    """The exceptions to catch around a call of huggingface_hub or of its file system."""
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled  # noqa: PLC0415  a third of a second

    return HfHubHTTPError, OfflineModeIsEnabled, _of_transport(HfHubHTTPError)


def _of_transport(error: type[Exception]) -> type[Exception]:
    """The most general exception of the HTTP library whose error `error` is: `httpx.HTTPError`, for one."""
    found = [base for base in error.__mro__ if not base.__module__.startswith(("huggingface_hub", "builtins"))]
    return found[-1] if found else error
