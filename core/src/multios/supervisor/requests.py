"""The requests of the daemon: each is checked here and handed on. A wrong one is answered, never fatal."""

from __future__ import annotations

import os

from multios.supervisor import flags, handover, id_maps, wire
from multios.supervisor.complaint import complain
from multios.supervisor.connections import Reply
from multios.supervisor.exits import is_process_id
from multios.supervisor.processes import RUNNING

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from multios.supervisor.connections import Connection
    from multios.supervisor.processes import Process
    from multios.supervisor.supervision import Supervision

PAGE = 100
_MAX_ID = 2**32 - 1


class Requests:
    """One method a request; its arguments are the message and the descriptors, which are closed afterwards."""

    def __init__(self, supervision: Supervision) -> None:
        self._supervision = supervision
        self._methods = {
            "reserve": self._reserve,
            "map": self._map,
            "launch": self._launch,
            "start": self._start,
            "exec": self._exec,
            "attach": self._attach,
            "signal": self._signal,
            "processes": self._processes,
            "forget": self._forget,
            "subscribe": self._subscribe,
            "adopt": self._adopt,
            "adopt-transit": self._adopt_transit,
            "ended": self._ended,
            "adopt-listener": self._adopt_listener,
            "write-refusals": self._write_refusals,
            "status": self._status,
            "shutdown": self._shutdown,
        }
        self._client: Connection | None = None

    def handle(self, connection: Connection, message: dict[str, Any], descriptors: list[int]) -> None:
        """Answer one request."""
        reply = Reply(connection)
        method = self._methods.get(str(message.get("do")))
        try:
            if method is None:
                raise ValueError(f"no request {str(message.get('do'))[:40]!r}")
            self._client = connection
            method(reply, message, descriptors)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            complain(f"request {str(message.get('do'))[:40]!r}", error)
            reply.bad("invalid", f"bad request: {type(error).__name__}: {error}")
        except OSError as error:
            complain(f"request {message['do']}", error)
            reply.bad("step_failed", str(error), step=str(message["do"]))
        finally:
            wire.close_all(descriptors)

    def _reserve(self, reply: Reply, message: dict[str, Any], descriptors: list[int]) -> None:
        namespaces = frozenset(message["namespaces"])
        if not namespaces <= flags.NAMESPACES.keys():
            raise ValueError(f"unknown namespaces: {', '.join(sorted(namespaces - flags.NAMESPACES.keys()))}")
        joined = dict(zip(message["joined"], descriptors, strict=True))
        if not joined.keys() <= flags.NAMESPACES.keys() - namespaces:
            raise ValueError(f"cannot join namespaces: {', '.join(sorted(joined))}")
        id_map = None
        if message["id_map"] is not None:
            start, size = (int(number) for number in message["id_map"])
            if not (0 <= start <= _MAX_ID and 0 < size <= _MAX_ID - start):
                raise ValueError(f"bad id map {start} {size}")
            id_map = (start, size)
        if ("user" in namespaces | joined.keys()) != (id_map is not None):
            raise ValueError("an id map and a user namespace go together")
        self._supervision.reserve(
            reply, _identity(message), str(message["launcher"]), namespaces, id_map, joined
        )

    def _map(self, reply: Reply, message: dict[str, Any], descriptors: list[int]) -> None:
        """A user namespace for a mount, made at once: it has no cgroup to wait for."""
        space = id_maps.make(id_maps.lines(message["users"]), id_maps.lines(message["groups"]))
        reply.good({}, [space])

    def _launch(self, reply: Reply, message: dict[str, Any], descriptors: list[int]) -> None:
        process = self._found(reply, message)
        if process is not None:
            self._supervision.launch(reply, process, _stdio(message, descriptors), descriptors)

    def _start(self, reply: Reply, message: dict[str, Any], descriptors: list[int]) -> None:
        process = self._found(reply, message)
        if process is not None:
            self._supervision.start(reply, process)

    def _exec(self, reply: Reply, message: dict[str, Any], descriptors: list[int]) -> None:
        container = self._found(reply, message)
        if container is not None:
            self._supervision.execute(
                reply,
                container,
                _identity(message, "exec_id"),
                str(message["launcher"]),
                _stdio(message, descriptors),
                descriptors,
            )

    def _attach(self, reply: Reply, message: dict[str, Any], descriptors: list[int]) -> None:
        process = self._found(reply, message)
        if process is None:
            return
        if process.streams is None:
            reply.bad("conflict", f"{process.id} is {process.status}, there is nothing to attach to")
            return
        ends = process.streams.attach(bool(message["stdin"]))
        if message["stdin"] and ends[0] >= 0 and not process.streams.terminal:
            self._supervision.tell({"event": "stdin", "id": process.id})
        reply.good({"terminal": process.streams.terminal}, ends)

    def _signal(self, reply: Reply, message: dict[str, Any], descriptors: list[int]) -> None:
        process = self._supervision.processes.get(_identity(message))
        if process is not None:
            process.signal(int(message["signal"]))
        elif message["id"] not in self._supervision.exits.records:
            reply.bad("not_found", f"no process {message['id']}")
        reply.good()

    def _processes(self, reply: Reply, message: dict[str, Any], descriptors: list[int]) -> None:
        """One page: the ids after ``after``, in order; with ``id``, of that one alone."""
        supervision = self._supervision
        known = supervision.processes.keys() | supervision.exits.records.keys()
        if "id" in message:
            page = [name for name in (_identity(message),) if name in known]
        else:
            page = [name for name in sorted(known) if name > str(message["after"])][:PAGE]
        rows = []
        for name in page:
            process = supervision.processes.get(name)
            record = supervision.exits.records.get(name, {})
            rows.append(
                {
                    "id": name,
                    "container_id": process.container_id if process else record["container_id"],
                    "pid": process.pid if process and process.alive else 0,
                    "status": process.status if process else "stopped",
                    "exit_code": record.get("exit_code"),
                    "finished": record.get("finished", 0.0),
                }
            )
        reply.good({"rows": rows})

    def _forget(self, reply: Reply, message: dict[str, Any], descriptors: list[int]) -> None:
        self._supervision.forget(reply, _identity(message))

    def _subscribe(self, reply: Reply, message: dict[str, Any], descriptors: list[int]) -> None:
        """From now on events; first all living processes, then all exits that are not forgotten."""
        client = self._client
        if client is None or client.subscribed:
            raise ValueError("subscribed already")
        client.subscribed = True
        client.on_close = self._supervision.subscribers.remove
        self._supervision.subscribers.append(client)
        reply.good({"pid": os.getpid()})
        client.send({"event": "transit"}, self._supervision.transit.copies())
        for process in self._supervision.processes.values():
            if process.alive and process.streams is not None:
                self._supervision.tell_process(process, [client])
        watches = self._supervision.watches
        for listener in watches.listeners.values():
            client.send(*watches.describe(listener))
        for record in self._supervision.exits.records.values():
            client.send({"event": "exit", **record})
        client.send({"event": "caught-up"})
        handover.sweep(self._supervision)  # whoever subscribes has handed over all that he holds

    def _adopt(self, reply: Reply, message: dict[str, Any], descriptors: list[int]) -> None:
        copies = [os.dup(descriptor) for descriptor in descriptors]
        handover.adopt(self._supervision, message["process"], message["copies"], copies)
        reply.good()

    def _adopt_transit(self, reply: Reply, message: dict[str, Any], descriptors: list[int]) -> None:
        self._supervision.transit.adopt([os.dup(descriptor) for descriptor in descriptors])
        reply.good()

    def _ended(self, reply: Reply, message: dict[str, Any], descriptors: list[int]) -> None:
        code = message["exit_code"]
        handover.ended(
            self._supervision,
            _identity(message),
            None if code is None else int(code),
            int(message["signal"]),
            float(message["finished"]),
        )
        reply.good()

    def _adopt_listener(self, reply: Reply, message: dict[str, Any], descriptors: list[int]) -> None:
        self._supervision.watches.adopt(message["listener"], [os.dup(one) for one in descriptors])
        reply.good()

    def _write_refusals(self, reply: Reply, message: dict[str, Any], descriptors: list[int]) -> None:
        self._supervision.watches.write(_identity(message))
        reply.good()

    def _status(self, reply: Reply, message: dict[str, Any], descriptors: list[int]) -> None:
        launchers = sorted(self._supervision.nursery.launchers)
        slots = self._supervision.slots.pids
        reply.good({"pid": os.getpid(), "slots": slots, "launchers": launchers})

    def _shutdown(self, reply: Reply, message: dict[str, Any], descriptors: list[int]) -> None:
        living = [process for process in self._supervision.processes.values() if process.alive]
        if living:
            running = sum(process.status == RUNNING for process in living)
            reply.bad("conflict", f"{len(living)} processes live, {running} run", "stop the containers first")
            return
        self._supervision.leave()
        reply.good()

    def _found(self, reply: Reply, message: dict[str, Any]) -> Process | None:
        """The process that the message names; if there is none, the reply says so."""
        process = self._supervision.processes.get(_identity(message))
        if process is None:
            reply.bad("not_found", f"no process {message['id']}")
        return process


def _identity(message: dict[str, Any], key: str = "id") -> str:
    name = message[key]
    if not is_process_id(name):
        raise ValueError(f"bad {key}")
    return str(name)


def _stdio(message: dict[str, Any], descriptors: list[int]) -> dict[str, Any]:
    asked = message["stdio"]
    if not isinstance(asked, dict):
        raise TypeError("stdio is no object")
    if not 0 <= int(asked.get("descriptors", 0)) < len(descriptors):
        raise ValueError("descriptors are missing")
    if asked.get("watch") is not None and not {"program", "record", "rules"} <= asked["watch"].keys():
        raise ValueError("the watch is not whole")
    return asked
