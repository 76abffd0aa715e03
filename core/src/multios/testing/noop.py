"""``noop`` drivers: accept everything, do nothing, remember nothing.

For an engine that should go without a subsystem, and as the shortest example of each contract.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from multios.drivers.image_source import ANYHOW, ContentSink, FetchRequest, ImageSourceDriver, Progress
from multios.drivers.isolation import Bundle, IsolationDriver, Launched, ProcessState
from multios.drivers.network import NetworkDriver
from multios.drivers.orchestrator import (
    Action,
    ApplyOptions,
    DestroyOptions,
    OrchestratorDriver,
    PlanOptions,
    Told,
)
from multios.drivers.security import SecurityDriver
from multios.drivers.storage import Snapshot, StorageDriver, Usage
from multios.drivers.template import TemplateDriver
from multios.drivers.template_converter import Conversion, TemplateConverterDriver
from multios.errors import InvalidInput, NotFound
from multios.model.app import App, AppState
from multios.model.image import Descriptor, ResolvedImage
from multios.model.mount import Mount
from multios.model.network import Endpoint, Network, PortMapping
from multios.model.template import Check, Parameter, TemplatePlan


class NoopIsolation(IsolationDriver):
    """Containers that end at once."""

    name = "noop"
    summary = "starts nothing"

    def create(self, bundle: Bundle) -> Launched:
        return Launched(pid=0)

    def start(self, container_id: str) -> None:
        """Nothing to let run."""

    def kill(self, container_id: str, signal: int, everything: bool = False) -> None:
        """Nothing to signal."""

    def delete(self, container_id: str) -> None:
        """Nothing is kept."""

    def state(self, container_id: str) -> ProcessState:
        return ProcessState("stopped", exit_code=0)


class NoopStorage(StorageDriver):
    """One empty directory for everybody."""

    name = "noop"
    summary = "one empty directory for all"

    def prepare(self, key: str, parent: str = "") -> tuple[Mount, ...]:
        return self.mounts(key)

    def view(self, key: str, parent: str) -> tuple[Mount, ...]:
        return self.mounts(key)

    def mounts(self, key: str) -> tuple[Mount, ...]:
        return (Mount("bind", str(self.context.state)),)

    def commit(self, name: str, key: str) -> None:
        """Nothing to keep."""

    def remove(self, key: str) -> None:
        """Nothing to remove."""

    def stat(self, key: str) -> Snapshot:
        return Snapshot(key, "", "active")

    def walk(self) -> Iterator[Snapshot]:
        return iter(())

    def usage(self, key: str) -> Usage:
        return Usage(0, 0)

    def diff(self, key: str, target: BinaryIO, latest: float | None = None) -> None:
        target.write(bytes(1024))  # the end of a tar archive


class NoopNetwork(NetworkDriver):
    """Leaves the container's network namespace as it is: no way out."""

    name = "noop"
    summary = "no interface, no way out"

    def create_network(self, network: Network) -> None:
        """Nothing to make."""

    def delete_network(self, network: Network) -> None:
        """Nothing to remove."""

    def add(self, network: Network, endpoint: Endpoint, netns: int) -> None:
        """Nothing to attach."""

    def delete(self, network: Network, endpoint: Endpoint) -> None:
        """Nothing to detach."""

    def check(self, network: Network, endpoint: Endpoint, netns: int) -> None:
        """Nothing can be missing."""

    def publish(self, network: Network, endpoint: Endpoint, ports: tuple[PortMapping, ...]) -> None:
        """Nothing to forward."""

    def unpublish(self, network: Network, endpoint: Endpoint, ports: tuple[PortMapping, ...]) -> None:
        """Nothing to take away."""


class NoopSecurity(SecurityDriver):
    """Adds nothing to the spec."""

    name = "noop"
    summary = "adds no confinement: for tests only"

    def apply(self, spec: dict[str, Any], profile: str) -> dict[str, Any]:
        return copy.deepcopy(spec)


class NoopTemplate(TemplateDriver):
    """The bare base."""

    name = "noop"
    summary = "debian:12 as it is"

    def parameters(self) -> tuple[Parameter, ...]:
        return ()

    def render(self, values: Mapping[str, str]) -> TemplatePlan:
        if values:
            raise InvalidInput(f"{next(iter(values))}: no such option", "this template has none")
        return TemplatePlan(self.name, "0.1.0", self.summary, base="debian:12")

    def checks(self) -> tuple[Check, ...]:
        return (Check("runs", ("true",)),)

    def lesson(self) -> str:
        return "# The bare base\n\nNothing is added to `debian:12`.\n"


class NoopTemplateConverter(TemplateConverterDriver):
    """Knows no format."""

    name = "noop"
    summary = "knows no format"

    def find(self, source: Path) -> Path | None:
        return None

    def convert(self, file: Path, target: Path) -> Conversion:
        raise InvalidInput(f"{file.name}: is of no format", "this converter knows none")


class NoopImageSource(ImageSourceDriver):
    """Has no image."""

    name = "noop"
    summary = "has no image"

    def resolve(self, reference: str) -> ResolvedImage | None:
        return None

    def fetch(
        self, image: ResolvedImage, content: ContentSink, progress: Progress, request: FetchRequest = ANYHOW
    ) -> Descriptor:
        raise NotFound(f"no such image: {image.reference!r}", "this source has none")


class NoopOrchestrator(OrchestratorDriver):
    """Keeps everything as it is."""

    name = "noop"
    summary = "plans nothing, does nothing"

    def existing(self, app: App) -> AppState:
        return AppState()

    def plan(self, app: App, existing: AppState, options: PlanOptions) -> tuple[Action, ...]:
        return ()

    def apply(self, app: App, plan: Sequence[Action], told: Told, options: ApplyOptions) -> None:
        """Nothing to do."""

    def watch(self, app: str) -> Iterator[Mapping[str, Any]]:
        return iter(())

    def destroy(self, app: str, told: Told, options: DestroyOptions) -> None:
        """Nothing to remove."""
