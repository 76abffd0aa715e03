"""The template ``java-learning``: see ``template.toml`` for what is in it, ``lesson.md`` for the lesson."""

from __future__ import annotations

from typing import ClassVar

from multios.drivers.declarative_template import DeclarativeTemplate

__version__ = "0.1.0"


class JavaLearning(DeclarativeTemplate):
    """Java with OpenJDK, Maven, Gradle and JUnit."""

    name: ClassVar[str] = "java-learning"
    summary: ClassVar[str] = "Java with OpenJDK, Maven, Gradle and JUnit"
    package: ClassVar[str] = __name__
