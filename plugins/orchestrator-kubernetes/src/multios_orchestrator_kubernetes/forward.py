"""A port of this host's loopback that leads to one inside a pod: a connection to the API server for each that comes."""

from __future__ import annotations

import os
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from multios.errors import InvalidInput, MultiosError, NotFound
from multios_orchestrator_kubernetes.cluster import Cluster
from multios_orchestrator_kubernetes.pump import Pump
from multios_orchestrator_kubernetes.websockets import V4, Channels

_AT_ONCE = 128
_LINGER = 5.0
"""Seconds of silence after which a connection is ended whose client has said all: a cluster cannot be told that."""
_PATIENCE = 2.0
_DATA, _ERROR = 0, 1
_LOOPBACK = "127.0.0.1"


@contextmanager
def listening(
    cluster: Cluster, namespace: str, find: Callable[[], str], port: int, host_port: int
) -> Iterator[int]:
    """While the context lasts. ``find`` names a pod that runs, and is asked again when that is gone."""
    if not 0 < port < 65536 or not 0 <= host_port < 65536:
        raise InvalidInput(f"port: {port} and {host_port} are not both ports", "write numbers below 65536")
    pod = find()
    try:
        listener = socket.create_server((_LOOPBACK, host_port))
    except OSError as error:
        raise MultiosError(
            f"{_LOOPBACK}:{host_port} cannot be listened on: {error.strerror}", "choose another port"
        ) from error
    forwarding = _Forwarding(cluster, namespace, pod, find, port)
    thread = threading.Thread(target=forwarding.accept, args=(listener,), daemon=True)
    thread.start()
    try:
        yield int(listener.getsockname()[1])
    finally:
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(_PATIENCE)
        forwarding.end()


class _Forwarding:
    def __init__(
        self, cluster: Cluster, namespace: str, pod: str, find: Callable[[], str], port: int
    ) -> None:
        self._cluster, self._namespace, self._pod, self._find, self._port = (
            cluster,
            namespace,
            pod,
            find,
            port,
        )
        self._slots = threading.BoundedSemaphore(_AT_ONCE)
        self._lock = threading.Lock()
        self._open: set[Channels] = set()
        self._is_over = False

    def accept(self, listener: socket.socket) -> None:
        """Until the listener is closed."""
        while True:
            self._slots.acquire()
            try:
                client, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def end(self) -> None:
        """End every connection."""
        with self._lock:
            self._is_over = True
            for channels in self._open:
                channels.cut()

    def _serve(self, client: socket.socket) -> None:
        with client:
            try:
                is_well = self._lead(client)
            except (MultiosError, OSError):
                is_well = False
            if not is_well:  # the client shall see that it is no end as others (socket(7))
                with suppress(OSError):
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._slots.release()

    def _lead(self, client: socket.socket) -> bool:
        """Until one side ends; whether the pod's side said of no fault."""
        channels = self._connect()
        faults: list[bytes] = []
        target = os.dup(client.fileno())
        try:
            with self._lock:
                self._open.add(channels)
                if self._is_over:
                    return False
            for _ in (_DATA, _ERROR):  # each begins with the port's number
                channels.receive()
            pump = Pump(channels, client.fileno(), {_DATA: target}, lambda _, data: faults.append(data))
            pump.run(_LINGER)
        finally:
            with self._lock:
                self._open.discard(channels)
            channels.close()
            os.close(target)
        return not any(faults)

    def _connect(self) -> Channels:
        query = [("ports", str(self._port))]
        try:
            return self._cluster.channels(self._namespace, self._pod, "portforward", query, (V4,))
        except NotFound:
            self._pod = self._find()
            return self._cluster.channels(self._namespace, self._pod, "portforward", query, (V4,))
