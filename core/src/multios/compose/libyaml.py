"""libyaml's parser without the rest of PyYAML: ``import yaml`` takes 11 ms for what only other ways of reading need.

``yaml._yaml`` needs the modules of events, nodes, tokens and errors, which are imported, and the classes of a few more errors,
for which others stand in. ``yaml`` itself is in ``sys.modules`` without its code having run; that runs as soon as somebody uses
something of it, and puts the right classes in their places: whoever imports it finds it as it always is.
"""

from __future__ import annotations

import sys
from _frozen_importlib import module_from_spec
from _frozen_importlib_external import PathFinder
from _thread import RLock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any
else:
    ModuleType = type(sys)

_PARSER = "yaml._yaml"
_finishing = RLock()
_MARKED = {
    "scanner": "ScannerError",
    "parser": "ParserError",
    "composer": "ComposerError",
    "constructor": "ConstructorError",
}
_PLAIN = {
    "reader": "ReaderError",
    "emitter": "EmitterError",
    "serializer": "SerializerError",
    "representer": "RepresenterError",
}
"""By submodule: the errors with a place in the text, and those without. Nothing else of these submodules is needed."""


def parser_class() -> Any:
    """What reads a text event by event, by its method ``get_event``, which raises ``yaml.error.YAMLError``."""
    try:
        _import_parser()
    except ImportError:  # PyYAML was built without libyaml
        import yaml

        return yaml.SafeLoader
    return sys.modules[_PARSER].CParser


class _Unfinished(ModuleType):
    """``yaml``, whose code runs at the first use of something that it has not."""

    is_begun = False

    def __getattr__(self, name: str) -> Any:
        with _finishing:  # other threads wait; the code itself must not begin anew
            if not self.is_begun:
                self.is_begun = True
                self._finish()
        return ModuleType.__getattribute__(self, name)

    def _finish(self) -> None:
        self.__spec__.loader.exec_module(self)  # type: ignore[union-attr]
        parser = sys.modules.get(_PARSER)
        for module, error in {**_MARKED, **_PLAIN}.items():
            if parser is not None:
                setattr(parser, error, getattr(sys.modules[f"yaml.{module}"], error))


class _Names:
    """In the place of a submodule of which only an error is needed."""


def _import_parser() -> None:
    spec = None if "yaml" in sys.modules else PathFinder.find_spec("yaml")
    if spec is None:
        __import__(_PARSER)
        return
    package = module_from_spec(spec)
    package.__class__ = _Unfinished
    sys.modules["yaml"] = package
    from yaml.error import MarkedYAMLError, YAMLError

    def without_place(self: Any, *details: Any) -> None:
        self.reason = details[-1]

    for module in ("events", "nodes", "tokens"):
        __import__(f"yaml.{module}")
    for base, errors, members in (
        (MarkedYAMLError, _MARKED, {}),
        (YAMLError, _PLAIN, {"__init__": without_place}),
    ):
        for module, error in errors.items():
            names = _Names()
            setattr(names, error, type(error, (base,), dict(members)))
            setattr(package, module, names)
    try:
        __import__(_PARSER)
    finally:
        for module in (*_MARKED, *_PLAIN):
            if isinstance(package.__dict__[module], _Names):
                delattr(package, module)
