"""The template ``database-learning``: see ``template.toml`` for what is in it, ``lesson.md`` for the lesson."""

from __future__ import annotations

from typing import ClassVar

from multios.drivers.declarative_template import DeclarativeTemplate

__version__ = "0.1.0"


class DatabaseLearning(DeclarativeTemplate):
    """MariaDB, PostgreSQL and Redis with a sample school."""

    name: ClassVar[str] = "database-learning"
    summary: ClassVar[str] = "MariaDB, PostgreSQL and Redis with a sample school"
    package: ClassVar[str] = __name__
