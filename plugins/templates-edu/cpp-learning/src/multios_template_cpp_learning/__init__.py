"""The template ``cpp-learning``: see ``template.toml`` for what is in it, ``lesson.md`` for the lesson."""

from __future__ import annotations

from typing import ClassVar

from multios.drivers.declarative_template import DeclarativeTemplate

__version__ = "0.1.0"


class CppLearning(DeclarativeTemplate):
    """C and C++ with GCC, make, GDB and Valgrind."""

    name: ClassVar[str] = "cpp-learning"
    summary: ClassVar[str] = "C and C++ with GCC, make, GDB and Valgrind"
    package: ClassVar[str] = __name__
