"""Ray: the driver is a process of this machine, its tasks run wherever Ray has room.

Ray is started by the driver on this machine, in a folder that goes with it, unless the program joins a cluster."""

import tempfile
from collections.abc import Sequence

from manifests.extras import need
from manifests.places.local import Local
from manifests.places.place import Work

TEMPORARY = "OCTO_RAY_TEMPORARY"
"""Environment variable with the folder for the files of a Ray that the driver starts itself; short, for its sockets."""


class Ray(Local):
    """A Place."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="octo-", ignore_cleanup_errors=True)
        super().__init__({TEMPORARY: self._folder.name})

    def submit(self, work: Work) -> list[str]:
        need("ray", "the place ray", "use --on local")
        return super().submit(work)

    def cancel(self, ids: Sequence[str]) -> None:
        super().cancel(ids)
        self._folder.cleanup()
