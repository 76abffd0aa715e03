"""What is built for an app: which Dockerfile, in which directory."""

from __future__ import annotations

import subprocess

from app_directory import AppDirectory


def test_the_dockerfile_is_the_contexts_whatever_the_current_directory_has(app: AppDirectory) -> None:
    app.write("FROM small:1\nRUN echo outer > /said\n", "Dockerfile")
    app.write("FROM small:1\nRUN echo inner > /said\n", "web/Dockerfile")
    app.write("services: {web: {build: {context: web, dockerfile: Dockerfile}, command: cat /said}}\n")
    words = ("app", "run", "--rm", "--no-tty", "web")
    done = subprocess.run(
        app.engine.command(*words),
        cwd=app.directory,
        env=app.engine.environment,
        capture_output=True,
        text=True,
    )
    assert done.stdout == "inner\n", done.stderr


def test_a_build_that_names_no_context_has_the_projects_directory(app: AppDirectory) -> None:
    app.write("here", "said")
    app.write(
        """
        services:
          web:
            build: {dockerfile_inline: "FROM small:1\\nCOPY said /said\\n"}
            command: cat /said
        """
    )
    assert app.out("run", "--rm", "--no-tty", "web") == "here"


def test_down_removes_the_images_that_it_is_asked_to(app: AppDirectory) -> None:
    app.write(
        """
        services:
          own: {build: {dockerfile_inline: "FROM small:1\\nRUN touch /own"}, command: "true"}
          named: {build: {dockerfile_inline: "FROM small:1\\nRUN touch /named"}, image: "named:1", command: "true"}
        """
    )

    def images() -> set[str]:
        listed = app.engine.out("image", "ls", "--format", "{{.Repository}}").split()
        return {f"{app.name}-own", "named"}.intersection(listed)

    app.up()
    assert images() == {f"{app.name}-own", "named"}
    assert f"image {app.name}-own: removed" in app.down("--rmi", "local", "--remove-orphans")
    assert images() == {"named"}
    app.down("--rmi", "all")
    assert images() == set()
