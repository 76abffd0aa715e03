"""Which files make up an app, where they are found, and the variables that they are read with."""

from __future__ import annotations

import os

from multios.compose import dotenv
from multios.compose.report import wrong
from multios.errors import InvalidInput, NotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from multios.compose.tree import Place

NAMES = ("compose.yaml", "compose.yml", "docker-compose.yaml", "docker-compose.yml")
_OVERRIDES = {
    name: tuple(f"{name.rpartition('.')[0]}.override.{end}" for end in ("yaml", "yml")) for name in NAMES
}
LARGEST = 1 << 20
"""Bytes of a Compose file, an environment file, a config or a secret."""
MOST_FILES = 100
STANDARD_INPUT = "-"


class Request:
    """What is asked for on the command line and by the environment.

    ``directory`` is the current one. ``targets`` are services that are named on the command line: they are enabled whatever
    their profiles are.
    """

    def __init__(
        self,
        files: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
        directory: str = "",
        project_directory: str = "",
        project_name: str = "",
        profiles: Sequence[str] = (),
        env_files: Sequence[str] = (),
        targets: Sequence[str] = (),
    ) -> None:
        self.environment = dict(os.environ if environment is None else environment)
        self.directory = directory or _current_directory()
        self.files, self.env_files = tuple(files), tuple(env_files)
        self.project_directory, self.project_name = project_directory, project_name
        self.profiles, self.targets = tuple(profiles), tuple(targets)


def _current_directory() -> str:
    try:
        return os.getcwd()
    except OSError:
        raise NotFound("the current directory is not there any more", "change to another one") from None


class Sources:
    """Files, directories and variables of one request.

    ``files`` are as their user names them; ``directory`` is the project's, ``current`` the user's; ``variables`` are the
    environment's, and below them those of ``.env``.
    """

    def __init__(self, request: Request) -> None:
        self._request = request
        self.current = request.directory
        self.variables = dict(request.environment)
        env_files = request.env_files or _listed(self.variables.get("COMPOSE_ENV_FILES", ""), ",")
        if not env_files and not request.files:
            # It may have COMPOSE_FILE.
            self._add([os.path.join(request.directory, ".env")], is_required=False)
        self.files = request.files or self._from_environment() or self._found()
        self.directory = self._project_directory()
        if env_files:
            self._add([os.path.join(request.directory, name) for name in env_files], is_required=True)
        else:
            self._add([os.path.join(self.directory, ".env")], is_required=False)

    def _from_environment(self) -> tuple[str, ...]:
        separator = self.variables.get("COMPOSE_PATH_SEPARATOR") or ":"
        return _listed(self.variables.get("COMPOSE_FILE", ""), separator)

    def _found(self) -> tuple[str, ...]:
        """The default names, here or in the nearest directory above that has one."""
        place = self._request.project_directory or self._request.directory
        directory = start = os.path.normpath(os.path.join(self._request.directory, place))
        while True:
            for name in NAMES:
                if os.path.isfile(os.path.join(directory, name)):
                    names = [
                        name,
                        *(item for item in _OVERRIDES[name] if os.path.isfile(os.path.join(directory, item))),
                    ]
                    return tuple(
                        os.path.relpath(os.path.join(directory, item), self._request.directory)
                        for item in names[:2]
                    )
            above = os.path.dirname(directory)
            if above == directory:
                raise NotFound(
                    f"there is no {NAMES[0]} in {start}, nor in a directory above it",
                    "name the file with --file",
                )
            directory = above

    def _project_directory(self) -> str:
        if self._request.project_directory:
            return os.path.normpath(os.path.join(self._request.directory, self._request.project_directory))
        first = self.files[0]
        if first == STANDARD_INPUT:
            return self._request.directory
        return os.path.dirname(os.path.normpath(os.path.join(self._request.directory, first)))

    def _add(self, paths: Iterable[str], is_required: bool) -> None:
        found = environment_files(paths, self.variables, self._request.directory, is_required)
        self.variables = {**found, **self.variables}

    def path(self, name: str) -> str:
        """Where the file that its user calls ``name`` is."""
        return (
            name if name == STANDARD_INPUT else os.path.normpath(os.path.join(self._request.directory, name))
        )

    def shown(self, path: str) -> str:
        """How to call a file: relative to the current directory where it is below it."""
        return shown(path, self._request.directory)


def shown(path: str, directory: str) -> str:
    """How to call a file for who is in ``directory``."""
    prefix = directory.rstrip("/") + "/"
    return path.removeprefix(prefix) if path.startswith(prefix) else path


def environment_files(
    paths: Iterable[str], variables: Mapping[str, str], directory: str, is_required: bool
) -> dict[str, str]:
    """The variables of several ``.env`` files, a later one's before an earlier one's."""
    found: dict[str, str] = {}
    for path in paths:
        if not is_required and not os.path.isfile(path):
            continue
        name = shown(path, directory)
        found |= dotenv.parse(read_text(path, name), name, variables, found)
    return found


def _listed(text: str, separator: str) -> tuple[str, ...]:
    return tuple(part for part in text.split(separator) if part) if text else ()


def read_bytes(path: str, name: str, place: Place | None = None, path_in_file: str = "") -> bytes:
    """What is in a file; errors are about ``place``, where it is asked for, if there is one."""
    try:
        descriptor = 0 if path == STANDARD_INPUT else os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        with open(descriptor, "rb", closefd=descriptor != 0) as file:
            data = file.read(LARGEST + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it cannot be a path"
        if place:
            raise wrong(place, path_in_file, f"{name}: {reason}", "name a file that you may read") from None
        raise NotFound(f"{name}: {reason}", "name a file that you may read") from None
    if len(data) > LARGEST:
        cause = f"{name} has more than {LARGEST} bytes"
        raise (
            wrong(place, path_in_file, cause, "make it smaller")
            if place
            else InvalidInput(cause, "make it smaller")
        )
    return data


def read_text(path: str, name: str, place: Place | None = None, path_in_file: str = "") -> str:
    """The same, as text in UTF-8."""
    try:
        return read_bytes(path, name, place, path_in_file).decode()
    except UnicodeDecodeError as error:
        cause = f"{name} is not UTF-8, at byte {error.start}"
        raise (
            wrong(place, path_in_file, cause, "save it as UTF-8")
            if place
            else InvalidInput(cause, "save it as UTF-8")
        ) from None
