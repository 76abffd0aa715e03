"""A private engine with a Python environment of its own: plugins are installed there and nowhere else."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from pathlib import Path

from private_engine import PrivateEngine

CLIENT_PROGRAM = "import sys; from multios.cli.main import main; sys.exit(main())"
DAEMON_PROGRAM = "import sys; from multios.daemon import main; sys.exit(main())"
WITHOUT_NETWORK = ("unshare", "--net")


class Elsewhere(PrivateEngine):
    """What is installed here, and what is installed into ``venv`` besides; ``prefix`` is put before every command."""

    def __init__(self, directory: Path, prefix: tuple[str, ...] = (), venv: Path | None = None) -> None:
        self.venv, self._prefix = venv or directory / "venv", prefix
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", self.venv], check=True)
        (site,) = self.venv.glob("lib/python*/site-packages")
        (site / "here.pth").write_text(f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n")
        super().__init__(directory)

    def python(self, *words: str) -> list[str]:
        """A command line of its Python."""
        return [*self._prefix, str(self.venv / "bin/python"), *words]

    def command(self, *words: str) -> list[str]:
        """A command line of its client."""
        return self.python("-c", CLIENT_PROGRAM, *words)

    def start(self) -> None:
        """Start its daemon and wait until it serves."""
        subprocess.run(
            self.python("-c", DAEMON_PROGRAM, "--config", str(self.config), "--daemon"),
            env=self.environment, stdin=subprocess.DEVNULL, check=True, timeout=60, capture_output=True,
        )  # fmt: skip

    def restart(self) -> None:
        """Another daemon, which knows the plugins of now."""
        self.daemon("stop")
        self.start()

    def install(self, name: str, entry_points: str, code: str, version: str = "1.0") -> Path:
        """Write a plugin of one module and install it into ``venv``; its folder."""
        module = name.replace("-", "_")
        folder = self.directory / name
        (folder / module).mkdir(parents=True)
        (folder / module / "__init__.py").write_text(code)
        (folder / "pyproject.toml").write_text(
            '[build-system]\nrequires = ["flit_core>=3.9"]\nbuild-backend = "flit_core.buildapi"\n'
            f'[project]\nname = "{name}"\nversion = "{version}"\ndescription = "A plugin of the tests"\n'
            f'dependencies = ["multios-core"]\n{entry_points}\n[tool.flit.module]\nname = "{module}"\n'
        )
        subprocess.run(
            self.python(
                "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--no-build-isolation", str(folder)
            ),
            check=True, env=self.environment,
        )  # fmt: skip
        return folder

    def installed(self) -> str:
        """What pip lists."""
        return subprocess.run(
            self.python("-m", "pip", "list", "--format", "freeze"),
            capture_output=True, text=True, check=True, env=self.environment,
        ).stdout  # fmt: skip
