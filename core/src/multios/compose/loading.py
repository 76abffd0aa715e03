"""Files to one tree: variables put in, ``extends`` and ``include`` followed, later files merged over earlier ones."""

from __future__ import annotations

import os

from multios.compose import paths, yaml_text
from multios.compose.field import Field
from multios.compose.interpolation import Interpolation
from multios.compose.keys import KEYS
from multios.compose.merge import merge
from multios.compose.report import at, wrong
from multios.compose.sources import MOST_FILES, environment_files, read_text
from multios.compose.tree import Override, Reset, Table, plain, settled
from multios.errors import InvalidInput, nearest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from multios.compose.report import Report
    from multios.compose.sources import Sources
    from multios.compose.tree import Place

MOST_EXTENDS = 50
"""Of services that extend each other, one behind the other."""
MOST_INCLUDES = 200
"""In all, a file that is included twice counted twice."""
_MERGED_BY_NAME = ("services", "networks", "volumes", "configs", "secrets")
_TOO_MANY = "use fewer files"


class Loader:
    """Reads files, each once, with one set of variables for those of the app itself."""

    def __init__(self, sources: Sources, report: Report) -> None:
        self.sources, self.report = sources, report
        self._includes = 0
        self._documents: dict[str, list[Table]] = {}
        self.read: list[str] = []
        """The files that were read."""

    def name(self, variables: Mapping[str, str]) -> tuple[str, Place]:
        """The app's name as the files have it, and where; empty if none does."""
        found: tuple[str, Place] = ("", ("", 0))
        for file in self.sources.files:
            for document in self.documents(self.sources.path(file)):
                if document.get("name") is not None:
                    place = document.places["name"]
                    value = Interpolation(variables, self.report).tree(document["name"], "name", place)
                    found = Field(value, "name", place, self.report).text(), place
        return found

    def load(self, variables: Mapping[str, str]) -> Table:
        """The app's own files, merged, with all that they include."""
        files = [self.sources.path(file) for file in self.sources.files]
        return self._merged(files, self.sources.directory, variables, ())

    def documents(self, path: str, place: Place | None = None, wanted_at: str = "") -> list[Table]:
        """The documents of a file as they are written."""
        if path not in self._documents:
            if len(self._documents) >= MOST_FILES:
                raise InvalidInput(f"{path}: there are more than {MOST_FILES} files", _TOO_MANY)
            name = self.sources.shown(path)
            documents = []
            for document in yaml_text.read(read_text(path, name, place, wanted_at), name):
                if document is not None and not isinstance(document, Table):
                    raise wrong(
                        (name, 1), "", "it is not a Compose file: no mapping", "begin it with services:"
                    )
                documents += [document] if document else []
            if not documents:
                raise wrong((name, 0), "", "it is empty", "begin it with services:")
            self._documents[path] = documents
            self.read.append(name)
        return self._documents[path]

    def _merged(
        self, files: Sequence[str], directory: str, variables: Mapping[str, str], within: tuple[str, ...]
    ) -> Table:
        interpolation = Interpolation(variables, self.report)
        result: Table | None = None
        for file in files:
            for document in self.ready(file, directory, interpolation):
                if "services" in document:
                    extended = Extending(self, interpolation, file, document, result).all(
                        document["services"]
                    )
                    document.put("services", extended, document.places["services"])
                result = document if result is None else merge(result, document)
        merged: Table = paths.with_contexts(settled(result), directory)
        return self._with_included(merged, variables, (*within, *files))

    def ready(
        self,
        file: str,
        directory: str,
        interpolation: Interpolation,
        place: Place | None = None,
        wanted_at: str = "",
    ) -> list[Table]:
        """A file's documents with their variables and absolute paths."""
        ready = []
        for document in self.documents(file, place, wanted_at):
            self._check_top(document)
            tree = interpolation.tree(document, "", (self.sources.shown(file), 1))
            ready.append(paths.resolve(tree, directory))
        return ready

    def _check_top(self, document: Table) -> None:
        for key, place in document.places.items():
            if key not in KEYS["compose"] and not key.startswith("x-"):
                guess = nearest(key, list(KEYS["compose"]))
                is_service = isinstance(document[key], Table) and {"image", "build"} & document[key].keys()
                remedy = "put it below services:" if is_service else "leave it out, or begin it with x-"
                raise wrong(
                    place, key[:80], "there is no such key", f"did you mean {guess!r}?" if guess else remedy
                )

    # --- include ------------------------------------------------------------------------------------------

    def _with_included(self, merged: Table, variables: Mapping[str, str], within: tuple[str, ...]) -> Table:
        if merged.get("include") is None:
            return merged
        result = merged.without("include")
        for field in Field(merged["include"], "include", merged.places["include"], self.report).items():
            files, own, env_files = self._included(field)
            self._includes += 1
            if self._includes > MOST_INCLUDES:
                raise field.error(f"there are more than {MOST_INCLUDES} includes", _TOO_MANY)
            if set(files) & set(within):
                raise field.error("these files include each other in a circle", "leave one of them out")
            below = environment_files(
                env_files or [os.path.join(own, ".env")],
                variables,
                self.sources.current,
                bool(env_files),
            )
            included = self._merged(files, own, {**below, **variables}, within)
            self._add(result, included)
        return result

    def _included(self, field: Field) -> tuple[list[str], str, list[str]]:
        """The files, their directory and their environment files."""
        if isinstance(field.value, str):
            return [field.value], os.path.dirname(field.value), []
        keys = field.table("include")
        if "path" not in keys:
            raise field.error("path is missing", "name the file")
        files = [item.text() for item in keys["path"].some()]
        if not files:
            raise keys["path"].expected("a file, or a list of them")
        own = keys["project_directory"].text() if "project_directory" in keys else os.path.dirname(files[0])
        return files, own, [item.text() for item in keys["env_file"].some()] if "env_file" in keys else []

    def _add(self, result: Table, included: Table) -> None:
        """What is included stands beside what is there; the same name for two things is refused."""
        for section in _MERGED_BY_NAME:
            theirs = included.get(section)
            if not isinstance(theirs, Table):
                continue
            ours = result.get(section)
            together = ours.without() if isinstance(ours, Table) else Table()
            for name, value in theirs.items():
                place = theirs.places[name]
                if name in together and plain(together[name]) != plain(value):
                    raise wrong(
                        together.places[name], f"{section}.{name}", f"{at(place)} includes another one of this name",
                        "rename one of them",
                    )  # fmt: skip
                together.put(name, value, place)
            result.put(section, together, included.places[section])


class Extending:
    """Follows ``extends`` for the services of one document."""

    def __init__(
        self,
        loader: Loader,
        interpolation: Interpolation,
        file: str,
        document: Table,
        before: Table | None,
    ) -> None:
        self._loader, self._interpolation = loader, interpolation
        self._file, self._before = file, before
        self._ready: dict[str, Table] = {file: document}

    def all(self, services: Any) -> Any:
        """The services with what they extend."""
        if isinstance(services, Override):
            return Override(self.all(services.value))
        if not isinstance(services, Table):
            return services
        result = Table()
        for name, value in services.items():
            result.put(name, self._service(self._file, name, value, ()), services.places[name])
        return result

    def _service(self, file: str, name: str, value: Any, above: tuple[tuple[str, str], ...]) -> Any:
        if isinstance(value, Override):
            return Override(self._service(file, name, value.value, above))
        extends = value.get("extends") if isinstance(value, Table) else None
        if extends is None or isinstance(extends, Reset):
            return value
        field = Field(
            settled(extends), f"services.{name}.extends", value.places["extends"], self._loader.report
        )
        if (file, name) in above:
            raise field.error("services extend each other in a circle", "leave one of them out")
        if len(above) > MOST_EXTENDS:
            raise field.error(f"more than {MOST_EXTENDS} services extend each other", "use fewer")
        other, base_name = self._named(field, file)
        base = self._service(other, base_name, self._find(other, base_name, field), (*above, (file, name)))
        return merge(settled(base), value.without("extends"), "services.*", field.place)

    def _named(self, field: Field, file: str) -> tuple[str, str]:
        if isinstance(field.value, str):
            return file, field.value
        keys = field.table("extends")
        if "service" not in keys:
            raise field.error("service is missing", "name the service to extend")
        return keys["file"].text() if "file" in keys else file, keys["service"].text()

    def _find(self, file: str, name: str, field: Field) -> Any:
        if file not in self._ready:
            documents = self._loader.ready(
                file, os.path.dirname(file), self._interpolation, field.place, field.path
            )
            merged = documents[0]
            for document in documents[1:]:
                merged = merge(merged, document)
            self._ready[file] = merged
        places = [self._ready[file]] + ([self._before] if self._before and file == self._file else [])
        names: list[str] = []
        for tree in places:
            services = settled(tree.get("services"))
            if isinstance(services, Table):
                if name in services:
                    return services[name]
                names += services
        guess = nearest(name, names)
        raise field.error(
            f"there is no service {name[:80]!r} in {self._loader.sources.shown(file)}",
            f"did you mean {guess!r}?" if guess else f"there are: {', '.join(names)[:200] or 'none'}",
        )
