"""The methods of the API: each unpacks a call's parameters, asks the engine, and shapes the answer.

The table is in ``docs/architecture.md``; nothing here decides anything about containers.
"""

from __future__ import annotations

import contextlib
import math
import os
import signal
import time
from typing import Any

from multios import features
from multios.api.app_methods import Apps
from multios.api.attestation_methods import Attestations, ContainerAttestations
from multios.api.audit_methods import Audit
from multios.api.build_methods import Builds
from multios.api.change_methods import ContainerChanges, ImageChanges
from multios.api.explain_methods import ContainerExplanations
from multios.api.image_methods import Images
from multios.api.network_methods import Networks, Ports
from multios.api.protocol import MAXIMUM_DESCRIPTORS, PeerGone, close_all
from multios.api.quota_methods import Quotas
from multios.api.registry_methods import Registries, Transfers
from multios.api.reset_methods import ContainerResets
from multios.api.server import Call, Handler, WithDescriptors
from multios.api.template_methods import Templates
from multios.api.walking import walked
from multios.api.why_methods import ContainerRefusals
from multios.drivers.base import Capability
from multios.drivers.isolation import Launched
from multios.engine import disk_limits, execution, files, inspection, log_files, top, waiting
from multios.engine.checks import Inside, last_lines
from multios.engine.engine import Engine
from multios.engine.event_selection import Selection
from multios.engine.events import Leaving
from multios.engine.sandbox import LABEL
from multios.engine.security_profiles import refuse_more_processes
from multios.errors import Conflict, MultiosError, NotFound, Refused
from multios.model import container_document, security_chain
from multios.model.container import Container, Stats, Status
from multios.model.container_names import check_name
from multios.model.json import to_json
from multios.model.resources_section import parse_resources
from multios.rootless import roots
from multios.supervisor import id_map

STATS_SECONDS = 1.0


def table(engine: Engine) -> dict[str, Handler]:
    """Method name to handler: every public method of the classes below."""
    handlers: dict[str, Handler] = {}
    for kind in (
        System,
        Plugins,
        ContainerMethods,
        ContainerChanges,
        ContainerRefusals,
        ContainerResets,
        ContainerAttestations,
        Attestations,
        ContainerExplanations,
        Images,
        ImageChanges,
        Transfers,
        Registries,
        Templates,
        Networks,
        Ports,
        Volumes,
        Apps,
        Builds,
        Quotas,
        Audit,
    ):
        part = kind(engine)
        for name in dir(part):
            handler = getattr(part, name)
            if not name.startswith("_") and callable(handler):
                handlers[f"{part.prefix}.{name.rstrip('_')}"] = handler
    return handlers


class System:
    """``system.*``"""

    prefix = "system"

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def version(self, call: Call) -> Any:
        return self._engine.version()

    def info(self, call: Call) -> Any:
        engine, settings = self._engine, self._engine.settings
        return {
            **engine.version(),
            "data_root": str(settings.data_root),
            "exec_root": str(settings.exec_root),
            "config_file": str(settings.file or ""),
            "hostname": os.uname().nodename,
            "cpus": os.cpu_count(),
            "memory": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
            "cgroup": engine.cgroup_mode,
            "containers": engine.counts(call.caller),
            "images": len(engine.images.list()),
            "defaults": {
                **to_json(_plain(settings.defaults)),
                "security": security_chain.write(engine.drivers.security_chain({})),
            },
            "security_profiles": {
                name: bundle.summary for name, bundle in sorted(settings.security_profiles.items())
            },
            "default_resources": to_json(engine.containers.requests.default_resources()),
            "template_indexes": list(settings.templates.indexes),
            "rootless": roots.own() is not None,
            "ids": id_map.size(),
        }

    def features(self, call: Call) -> Any:
        rows = self._engine.catalog.rows()
        kinds = sorted({row["kind"] for row in rows})
        return {
            "kernel": features.probe(),
            "cgroup": self._engine.cgroup_mode,
            "drivers": {
                kind: sorted(
                    row["name"]
                    for row in rows
                    if row["kind"] == kind and row["status"] in ("ready", "default")
                )
                for kind in kinds
            },
            "capabilities": list(container_document.CAPABILITIES),
        }

    def doctor(self, call: Call) -> Any:
        return self._engine.diagnose()

    def events(self, call: Call) -> Any:
        selection = Selection(
            call.mapping("filters"),
            call.moment("since"),
            call.moment("until"),
            call.number("after", 1 << 53) or 0,
        )
        try:
            with contextlib.closing(
                self._engine.events.follow(selection, call.flag("follow"), call.alive)
            ) as found:
                for event in found:
                    if call.caller.may_see(event["attributes"].get("owner", 0)):
                        call.item(event)
        except Leaving:  # for who listens a daemon that leaves is one that has died: he asks the next one
            raise PeerGone from None
        return {}


def _plain(record: Any) -> dict[str, Any]:
    return {name: getattr(record, name) for name in record.__slots__}


class Plugins:
    """``plugins.*``"""

    prefix = "plugins"

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def list(self, call: Call) -> Any:
        return self._engine.catalog.rows(call.text("kind", "") or None)

    def show(self, call: Call) -> Any:
        return self._engine.catalog.show(call.text("name"), call.text("kind", "") or None)


class ContainerMethods:
    """``containers.*``"""

    prefix = "containers"

    def __init__(self, engine: Engine) -> None:
        self._engine, self._containers, self._registry = engine, engine.containers, engine.registry

    def _find(self, call: Call) -> Container:
        return self._registry.find(call.text("ref"), call.caller)

    # --- life ---------------------------------------------------------------------------------------

    def create(self, call: Call) -> Any:
        config = container_document.parse(call.params.get("config"))
        owner = call.caller.on_behalf_of(call.text("owner", ""))
        with walked(call, last="record"):
            container = self._containers.create(config, owner, call.progress)
        said = [
            *disk_limits.warnings(container.config.resources, self._engine.settings.data_root),
            *self._containers.requests.template_warnings(container.config, owner),
        ]
        return {"id": container.id, "name": container.name, "warnings": said}

    def start(self, call: Call) -> Any:
        container = self._find(call)
        attach = call.flag("attach")
        with walked(call, last="start"):
            launched = self._containers.start(container, attach, wanted=call.alive)
        if attach:
            self._hand_over(call, container, launched, call.flag("stdin"))
        return {"id": container.id}

    def run(self, call: Call) -> Any:
        config = container_document.parse(call.params.get("config"))
        attach = call.flag("attach")
        container = self._containers.create(config, call.caller, call.progress, of_run=True)
        try:
            stdin = call.fds[0] if call.fds else None
            launched = self._containers.start(container, attach, stdin, call.alive)
        except BaseException:
            if config.auto_remove:
                with contextlib.suppress(MultiosError):  # what failed first is what is told
                    self._containers.delete(container, force=True)
            raise
        if not attach:
            return {"id": container.id}
        self._hand_over(call, container, launched, config.terminal)
        ended = self._registry.wait(container.id, call.alive)
        return {"id": container.id, "exit_code": ended.exit_code}

    def _hand_over(self, call: Call, container: Container, launched: Launched | None, stdin: bool) -> None:
        terminal = container.config.terminal
        if launched is None:
            terminal, ends = self._engine.supervisor.attach(container.id, stdin)
        else:
            ends = launched.attached
        facts = {"id": container.id, "terminal": terminal}
        if terminal:
            close_all([ends[2]])
            call.attached(facts, [ends[0], ends[1]])
        else:
            facts["stdin"] = ends[0] >= 0 and stdin
            if not facts["stdin"]:
                close_all([ends[0]])
            call.attached(facts, [*([ends[0]] if facts["stdin"] else []), ends[1], ends[2]])

    def attach(self, call: Call) -> Any:
        container = self._containers.running(self._find(call))
        self._hand_over(call, container, None, call.flag("stdin"))
        ended = self._registry.wait(container.id, call.alive)
        return {"exit_code": ended.exit_code}

    def stop(self, call: Call) -> Any:
        container = self._find(call)
        self._containers.stop(container, call.number("timeout"))
        return {"id": container.id}

    def restart(self, call: Call) -> Any:
        container = self._find(call)
        self._containers.restart(container, call.number("timeout"))
        return {"id": container.id}

    def kill(self, call: Call) -> Any:
        container = self._find(call)
        name = container_document.signal_name(str(call.params.get("signal") or "KILL"))
        self._containers.kill(container, signal.Signals[name])
        return {"id": container.id}

    def pause(self, call: Call) -> Any:
        container = self._find(call)
        self._containers.pause(container)
        return {"id": container.id}

    def resume(self, call: Call) -> Any:
        container = self._find(call)
        self._containers.resume(container)
        return {"id": container.id}

    def delete(self, call: Call) -> Any:
        container = self._find(call)
        self._containers.delete(container, call.flag("force"), call.flag("volumes"))
        return {"id": container.id}

    def rename(self, call: Call) -> Any:
        container = self._find(call)
        self._containers.rename(container, check_name("container", call.text("name")))
        return {"id": container.id}

    def update(self, call: Call) -> Any:
        container = self._find(call)
        policy = call.params.get("restart_policy")
        resources = parse_resources(call.mapping("resources"))
        refuse_more_processes(container.config.security, resources, call.caller, self._engine.settings)
        self._containers.update(
            container,
            resources,
            container_document.parse_restart_policy(policy) if policy else None,
        )
        return {"id": container.id}

    def prune(self, call: Call) -> Any:
        removed = []
        for container in self._registry.visible(call.caller):
            if container.status in (Status.CREATED, Status.EXITED) and LABEL not in container.config.labels:
                try:
                    self._containers.delete(container, force=False)
                except (Conflict, NotFound):
                    continue  # started or removed since it was listed
                removed.append(container.id)
        return {"removed": removed}

    def wait(self, call: Call) -> Any:
        ref = call.text("ref")
        is_list = isinstance(call.params.get("condition"), list)
        words = (call.words("condition") or ("exited",)) if is_list else (call.text("condition", "exited"),)
        conditions = waiting.parse(words)
        gone = self._registry.ended(ref, call.caller)
        container_id = gone.id if gone else self._registry.find(ref, call.caller).id
        timeout = call.number("timeout")
        deadline = math.inf if timeout is None else time.monotonic() + timeout
        reached = waiting.wait(self._registry, container_id, conditions, call.alive, deadline)
        return {
            "exit_code": reached.exit_code,
            "error": reached.error,
            "status": str(reached.status),
            "health": str(reached.health.status) if reached.health else None,
        }

    # --- inside ---------------------------------------------------------------------------------------

    def exec(self, call: Call) -> Any:
        container = self._find(call)
        if call.flag("privileged") and not call.caller.is_administrator:
            raise Refused("a privileged exec is for administrators", "leave out --privileged")
        request = execution.ExecRequest(
            command=call.words("command"),
            terminal=call.flag("terminal"),
            environment=call.texts("environment"),
            user=call.text("user", ""),
            working_directory=call.text("working_directory", ""),
            privileged=call.flag("privileged"),
        )
        if call.flag("capture"):
            ran = Inside(
                self._containers, self._engine.drivers, self._engine.exits, container, call.alive
            ).executed(request)
            return {"exit_code": ran.status, "last": list(last_lines(ran.output))}
        detach = call.flag("detach")
        streams = () if request.terminal or detach else tuple(call.descriptors(3))
        exec_id, launched = execution.execute(
            self._containers, self._engine.drivers, container, request, streams
        )
        if detach:
            close_all(launched.attached)
            return {"exec_id": exec_id}
        if request.terminal:
            close_all(launched.attached[1:])
            call.attached({"id": container.id, "terminal": True}, [launched.attached[0]])
        return {"exit_code": self._engine.exits.wait_for_exec(exec_id, call.alive)}

    def health(self, call: Call) -> Any:
        result = self._engine.health_probes.probe_now(self._find(call))
        return {"exit_code": result.exit_code, "output": result.output}

    def top(self, call: Call) -> Any:
        container = self._containers.running(self._find(call))
        isolation = self._containers.capable(container, Capability.EXEC)
        return top.top(isolation, container, call.words("columns"))

    def logs(self, call: Call) -> Any:
        container = self._find(call)
        path = self._containers.directory(container) / "log"
        left = log_files.open_log(path, container.config.log_max_files)
        count = len(left)
        try:
            while len(left) > MAXIMUM_DESCRIPTORS:
                batch, left = left[:MAXIMUM_DESCRIPTORS], left[MAXIMUM_DESCRIPTORS:]
                call.item({"files": len(batch)}, batch)
        except BaseException:
            close_all(left)
            raise
        return WithDescriptors({"path": str(path), "files": count}, left)

    def export(self, call: Call) -> Any:
        container = self._find(call)
        size = files.export(self._engine.drivers, container, call.descriptors(1)[0])
        return {"size": size}

    def copy_in(self, call: Call) -> Any:
        container = self._find(call)
        files.copy_in(self._engine.drivers, container, call.text("path"), call.descriptors(1)[0])
        return {"id": container.id}

    def copy_out(self, call: Call) -> Any:
        container = self._find(call)
        files.copy_out(self._engine.drivers, container, call.text("path"), call.descriptors(1)[0])
        return {"id": container.id}

    # --- looking --------------------------------------------------------------------------------------

    def list(self, call: Call) -> Any:
        filters = call.mapping("filters")
        if filters.get("owner") == "me":
            filters = {**filters, "owner": str(call.caller.uid)}
        limit = call.number("limit") or 0
        wants_all = call.flag("all") or limit > 0 or "status" in filters
        chosen = [
            container
            for container in reversed(self._registry.visible(call.caller))
            if (wants_all or container.status in (Status.RUNNING, Status.PAUSED))
            and inspection.matches(container, filters)
        ]
        rows = []
        for container in chosen[: limit or None]:
            row = inspection.row(container, self._engine.command_of(container))
            rows.append({**row, "size": self._size(container)} if call.flag("size") else row)
        return rows

    def _size(self, container: Container) -> int | None:
        """Bytes that a container has written; ``None`` where that cannot be told."""
        try:
            return self._engine.drivers.storage(container).usage(container.id).size
        except (MultiosError, OSError):
            return None  # its driver is not installed any more, or it is being removed

    def inspect(self, call: Call) -> Any:
        container = self._find(call)
        image = self._engine.images.find(container.image_id)
        mounts = {
            row["name"]: row["path"]
            for row in self._engine.volumes.rows(call.caller)
            if row["owner"] == container.owner
        }
        is_running = container.status in (Status.RUNNING, Status.PAUSED)
        return inspection.inspect(
            container,
            image.config if image else None,
            self._containers,
            self._engine.networks,
            mounts,
            self._engine.watch.counters(container) if is_running else container.counters,
            disk_limits.shown(self._engine.drivers.storage(container), container),
        )

    def validate(self, call: Call) -> Any:
        config = container_document.parse(call.params.get("config"))
        config = self._containers.requests.check(config, call.caller)
        said = self._containers.requests.template_warnings(config, call.caller)
        return {"valid": True, "name": config.name, "warnings": said}

    def stats(self, call: Call) -> Any:
        named = {self._registry.find(ref, call.caller).id for ref in call.words("refs")}
        meter = inspection.Meter(self._engine.watch.earlier)
        wants_all = call.flag("all")
        while True:
            chosen = [item for item in self._registry.visible(call.caller) if not named or item.id in named]
            rows = [self._reading(meter, container, wants_all) for container in chosen]
            shown = [row for row in rows if row is not None]
            call.item(sorted(shown, key=lambda row: -(row["cpu_percent"] or 0.0)))
            if not call.flag("stream") or (named and not chosen):
                return {}
            time.sleep(STATS_SECONDS)

    def _reading(
        self, meter: inspection.Meter, container: Container, wants_all: bool
    ) -> dict[str, Any] | None:
        if container.status not in (Status.RUNNING, Status.PAUSED):
            return meter.idle_row(container) if wants_all else None
        isolation = self._engine.drivers.isolation(container)
        try:
            stats = isolation.stats(container.id) if Capability.STATS in isolation.capabilities else Stats()
        except MultiosError:
            if isolation.state(container.id).status == "stopped":
                return meter.idle_row(container) if wants_all else None  # it has ended meanwhile
            raise
        return meter.row(container, stats)


class Volumes:
    """``volumes.*``"""

    prefix = "volumes"

    def __init__(self, engine: Engine) -> None:
        self._volumes = engine.volumes

    def list(self, call: Call) -> Any:
        return self._volumes.rows(call.caller)

    def create(self, call: Call) -> Any:
        return self._volumes.create(call.text("name"), call.caller, call.texts("labels"))

    def inspect(self, call: Call) -> Any:
        return self._volumes.inspect(call.text("name"), call.caller)

    def remove(self, call: Call) -> Any:
        self._volumes.remove(call.text("name"), call.caller)
        return {"name": call.text("name")}

    def prune(self, call: Call) -> Any:
        return {"removed": self._volumes.prune(call.caller)}
