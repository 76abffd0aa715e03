"""Host id ranges for containers' user namespaces: none serves two containers."""

from __future__ import annotations

from multios.errors import Unsupported
from multios.model.mount import IdMap
from multios.store.database import Database

SIZE = 65536


class IdRanges:
    """Ranges of :data:`SIZE` ids, ``count`` of them from ``first`` on."""

    def __init__(self, database: Database, first: int, count: int) -> None:
        self._database, self._first, self._count = database, first, count

    def take(self, container_id: str) -> IdMap:
        """A free range, the container's until :meth:`free`; ``Unsupported`` when all are taken."""
        start = self._database.take_id_range(container_id, self._first, SIZE, self._count)
        if start is None:
            raise Unsupported(
                f"all {self._count} id ranges are in use", "delete containers, or raise [id_ranges] count"
            )
        return IdMap(start, SIZE)

    def free(self, container_id: str) -> None:
        """Give the range back; absent is no error."""
        self._database.free_id_range(container_id)

    def keep_only(self, container_ids: set[str]) -> None:
        """Free the ranges of every other container: a killed daemon may have taken one and not used it."""
        for container_id in self._database.id_range_holders() - container_ids:
            self._database.free_id_range(container_id)


class SharedIds:
    """All containers have the engine's own ids, ``size`` of them: in a user's own engine there are no others."""

    def __init__(self, size: int) -> None:
        self._size = size

    def take(self, container_id: str) -> IdMap:
        """The same for everyone."""
        return IdMap(0, self._size)

    def free(self, container_id: str) -> None:
        """Nothing was taken."""

    def keep_only(self, container_ids: set[str]) -> None:
        """Nothing is ever left over."""
