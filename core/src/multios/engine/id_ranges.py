"""Host id ranges for containers' user namespaces: none serves two containers."""

from __future__ import annotations

import threading
from collections.abc import Iterable

from multios.errors import Conflict, Unsupported
from multios.model.id_mapping import overlap
from multios.model.mount import IdMap
from multios.store.database import Database

SIZE = 65536


class IdRanges:
    """Ranges of :data:`SIZE` ids, ``count`` of them from ``first`` on."""

    def __init__(self, database: Database, first: int, count: int) -> None:
        self._database, self._first, self._count = database, first, count
        self._named: dict[str, IdMap] = {}
        self._lock = threading.Lock()

    def take(self, container_id: str, size: int = SIZE) -> IdMap:
        """A free range, the container's until :meth:`free`; ``Unsupported`` when all are taken.

        It is the container's alone, whether it uses all of it or the first ``size`` ids.
        """
        start = self._database.take_id_range(container_id, self._first, SIZE, self._count)
        if start is None:
            raise Unsupported(
                f"all {self._count} id ranges are in use", "delete containers, or raise [id_ranges] count"
            )
        return IdMap(start, size)

    def claim(self, container_id: str, wanted: IdMap, others: Iterable[tuple[str, IdMap]]) -> IdMap:
        """Ids that an administrator names; ``Conflict`` where one is the engine's own or another container's.

        ``others`` are the names and ids of the containers on record.
        """
        with self._lock:
            claims = [(key, claimed) for key, claimed in self._named.items() if key != container_id]
            self._check_free(wanted, [*others, *claims])
            self._named[container_id] = wanted
        return wanted

    def _check_free(self, wanted: IdMap, others: Iterable[tuple[str, IdMap]]) -> None:
        own = IdMap(self._first, self._count * SIZE)
        if overlap(wanted, own):
            raise Conflict(
                f"the ids from {wanted.start} on are the engine's own",
                f"choose ids outside of [id_ranges], {own.start} to {own.start + own.size - 1}",
            )
        for name, taken in others:
            if overlap(wanted, taken):
                raise Conflict(
                    f"the ids from {wanted.start} on are those of container {name!r}",
                    f"choose others than {taken.start} to {taken.start + taken.size - 1}",
                )

    def free(self, container_id: str) -> None:
        """Give the range back; absent is no error."""
        self._database.free_id_range(container_id)
        with self._lock:
            self._named.pop(container_id, None)

    def keep_only(self, container_ids: set[str]) -> None:
        """Free the ranges of every other container: a killed daemon may have taken one and not used it."""
        for container_id in self._database.id_range_holders() - container_ids:
            self._database.free_id_range(container_id)


class SharedIds:
    """All containers have the engine's own ids, ``size`` of them: in a user's own engine there are no others."""

    def __init__(self, size: int) -> None:
        self._size = size

    def take(self, container_id: str, size: int = SIZE) -> IdMap:
        """The same for everyone, or the first ``size`` of them."""
        return IdMap(0, min(self._size, size))

    def claim(self, container_id: str, wanted: IdMap, others: Iterable[tuple[str, IdMap]]) -> IdMap:
        """``Unsupported``: there are none to choose from."""
        raise Unsupported(
            "a user's own engine has only the ids of its user", "leave out --userns map, or run it as root"
        )

    def free(self, container_id: str) -> None:
        """Nothing was taken."""

    def keep_only(self, container_ids: set[str]) -> None:
        """Nothing is ever left over."""
