"""What the hub's client raises is caught, whatever HTTP library it uses."""

import pytest
from huggingface_hub.errors import HfHubHTTPError

from manifests.hub_errors import _of_transport, hub_errors


class TransportError(Exception):
    """Stands for the base class of a library's errors."""


class StatusError(TransportError):
    """Stands for what it raises for a status."""


class LostConnection(TransportError):
    """Stands for what it raises without a network."""


def test_the_base_class_of_the_library_is_read_off_the_class_that_the_hub_documents():
    hub = type("HubError", (StatusError, OSError), {"__module__": "huggingface_hub.errors"})
    assert _of_transport(hub) is TransportError
    with pytest.raises(_of_transport(hub)):
        raise LostConnection


def test_the_library_that_is_installed_is_covered():
    assert HfHubHTTPError in hub_errors()
    transport = hub_errors()[-1]
    assert transport is not Exception and not issubclass(transport, OSError)
    assert issubclass(HfHubHTTPError, transport)
