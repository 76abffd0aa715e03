"""What a course's machines are made of: there before the first of them, and an error names the line that asks for it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from multios.cli.context import Context
from multios.errors import InvalidInput, MultiosError, NotFound
from multios_courses import locks
from multios_courses.course_file import Course, Template, line


def provide(context: Context, course: Course) -> None:
    """Build each template and fetch each image that is not there, with its progress."""
    for number, template in enumerate(course.templates):
        with _named(course, number, template):
            if template.name:
                locks.build(context, template)
            else:
                _fetch(context, template.image)


def check(context: Context, course: Course) -> None:
    """Raise ``NotFound`` or ``InvalidInput`` for a template or an option that there is not; nothing is built."""
    for number, template in enumerate(course.templates):
        if template.name:
            with _named(course, number, template):
                params = {"name": template.name, "options": dict(template.options)}
                context.call("templates.inspect", params)


def _fetch(context: Context, image: str) -> None:
    try:
        context.call("images.inspect", {"ref": image})
    except NotFound:
        context.call("images.pull", {"ref": image})


@contextmanager
def _named(course: Course, number: int, template: Template) -> Iterator[None]:
    """Say of an error inside where the course's file asks for what failed; what the lock says has its own place."""
    try:
        yield
    except MultiosError as error:
        if not (template.lock and error.cause.startswith(str(template.lock))):
            key = _key(template, error)
            place = line(course.file.read_text("utf-8"), ("templates", number, key))
            error.cause = f"{course.file}:{place}: templates.{key}: {error.cause}"
        raise


def _key(template: Template, error: MultiosError) -> str:
    if template.image:
        return "image"
    return "options" if template.options and isinstance(error, InvalidInput) else "name"
