"""The template ``python-learning``: see ``template.toml`` for what is in it, ``lesson.md`` for the lesson."""

from __future__ import annotations

from typing import ClassVar

from multios.drivers.declarative_template import DeclarativeTemplate

__version__ = "0.1.0"


class PythonLearning(DeclarativeTemplate):
    """Python with pip, virtualenv, Jupyter and the usual packages."""

    name: ClassVar[str] = "python-learning"
    summary: ClassVar[str] = "Python with pip, virtualenv, Jupyter notebook and the usual packages"
    package: ClassVar[str] = __name__
