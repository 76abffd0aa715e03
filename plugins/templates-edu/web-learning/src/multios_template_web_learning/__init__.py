"""The template ``web-learning``: see ``template.toml`` for what is in it, ``lesson.md`` for the lesson."""

from __future__ import annotations

from typing import ClassVar

from multios.drivers.declarative_template import DeclarativeTemplate

__version__ = "0.1.0"


class WebLearning(DeclarativeTemplate):
    """Apache, PHP, MariaDB, Node.js and Python behind one address."""

    name: ClassVar[str] = "web-learning"
    summary: ClassVar[str] = "Apache, PHP, MariaDB, Node.js and Python behind one address"
    package: ClassVar[str] = __name__
