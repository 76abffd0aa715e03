"""The template ``nodejs-learning``: see ``template.toml`` for what is in it, ``lesson.md`` for the lesson."""

from __future__ import annotations

from typing import ClassVar

from multios.drivers.declarative_template import DeclarativeTemplate

__version__ = "0.1.0"


class NodejsLearning(DeclarativeTemplate):
    """Node.js with npm, npx, yarn, Express and its generator."""

    name: ClassVar[str] = "nodejs-learning"
    summary: ClassVar[str] = "Node.js with npm, npx, yarn, Express and its generator"
    package: ClassVar[str] = __name__
