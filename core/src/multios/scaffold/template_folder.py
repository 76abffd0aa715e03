"""``template create``: the folder of a template without a distribution, which validates and builds as it is."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from multios.errors import Conflict, InvalidInput
from multios.model import reference
from multios.template_format import rules

_WITH_APT = ("debian", "ubuntu")


def write(name: str, base: str, directory: str | Path) -> Path:
    """Write ``directory/name`` and return it.

    Raises ``InvalidInput`` for a name or base that cannot be, or a directory that cannot be written, ``Conflict`` where
    something is in the way.
    """
    rules.check_name(name, "NAME")
    parsed = reference.parse(base)
    distribution = parsed.path.rpartition("/")[2]
    target = Path(directory) / name
    values = {
        "@name@": name,
        "@base@": base,
        "@command@": "" if distribution in _WITH_APT else 'command = ["/bin/sh"]\n',
        "@packages@": _packages(distribution),
    }
    try:
        target.mkdir(parents=True)
        (target / "rootfs/etc").mkdir(parents=True)
        (target / "template.toml").write_text(_filled("template.toml.txt", values))
        (target / "lesson.md").write_text(_filled("lesson.md.txt", values))
        (target / "rootfs/etc/motd").write_text(f"This is {name}. The lesson: template show {name}\n")
    except FileExistsError as error:
        raise Conflict(f"{target} is there already", "choose another name or directory") from error
    except OSError as error:
        raise InvalidInput(
            f"{error.filename}: {error.strerror}", "choose a directory that you may write"
        ) from error
    return target


def _packages(distribution: str) -> str:
    """Packages for a base that has apt; elsewhere the steps install what is needed."""
    if distribution not in _WITH_APT:
        return ""
    return (
        "\n[packages]\n"
        "# One layer, installed with apt. The key is a base or its distribution.\n"
        f'{distribution} = ["nano"]\n'
    )


def _filled(name: str, values: dict[str, str]) -> str:
    text = resources.files(__package__).joinpath("template_folder_files", name).read_text(encoding="utf-8")
    for mark, value in values.items():
        text = text.replace(mark, value)
    return text
