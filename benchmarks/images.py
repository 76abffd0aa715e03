"""Measure layers, pulls and builds, write results-images.md. See README.md beside this file."""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "tests/support")]

import measuring  # noqa: E402
import peers  # noqa: E402
import stage  # noqa: E402
import table  # noqa: E402
from table import Row  # noqa: E402

import busybox_rootfs  # noqa: E402
import registry_server  # noqa: E402
from private_engine import PrivateEngine  # noqa: E402

ROUNDS = 3
BUILD_RUNS = 7
STEPS = 20
LAYER_BYTES = 600 << 20
PULL_LAYERS, PULL_LAYER_BYTES = 5, 60 << 20
BIG_LAYERS, BIG_LAYER_BYTES = 4, 512 << 20
TREE = Path("/usr")
"""What the layers are made of: a machine's own programs and libraries, as an image has them."""


class Files:
    """Files of the machine, each given once, in a stable order."""

    def __init__(self) -> None:
        self._paths = (
            Path(directory, name)
            for directory, below, names in os.walk(TREE)
            for name in _sorted(below, names)
        )

    def tar(self, target: Path, size: int) -> Path:
        """A tar of about ``size`` bytes of them."""
        total = 0
        with tarfile.open(target, "w", format=tarfile.PAX_FORMAT) as archive:
            for path in self._paths:
                status = path.lstat()
                if status.st_size < 32 << 20:
                    archive.add(path, str(path.relative_to("/")), recursive=False)
                    total += status.st_size
                if total >= size:
                    break
        return target


def _sorted(below: list[str], names: list[str]) -> list[str]:
    below.sort()
    return sorted(names)


class Layout:
    """An OCI image layout of one image, written for the benchmark (image-spec, image-layout.md)."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        (directory / "blobs/sha256").mkdir(parents=True)
        (directory / "oci-layout").write_text(json.dumps({"imageLayoutVersion": "1.0.0"}))

    def blob(self, data: bytes | Path) -> tuple[str, int]:
        """Digest and size of a blob once it is in; a file is moved."""
        if isinstance(data, bytes):
            digest, size = hashlib.sha256(data).hexdigest(), len(data)
            (self.directory / "blobs/sha256" / digest).write_bytes(data)
        else:
            digest, size = _digest(data), data.stat().st_size
            data.rename(self.directory / "blobs/sha256" / digest)
        return f"sha256:{digest}", size

    def image(self, name: str, layers: Sequence[tuple[Path, str, str]]) -> Path:
        """Write the image of layers (file, media type's suffix, diff ID); the whole as an archive."""
        descriptors = []
        for file, suffix, _ in layers:
            digest, size = self.blob(file)
            kind = f"application/vnd.oci.image.layer.v1.tar{suffix}"
            descriptors.append({"mediaType": kind, "digest": digest, "size": size})
        config = {
            "architecture": "amd64", "os": "linux", "config": {"Cmd": ["true"]},
            "rootfs": {"type": "layers", "diff_ids": [diff_id for _, _, diff_id in layers]},
        }  # fmt: skip
        digest, size = self.blob(json.dumps(config).encode())
        kind = "application/vnd.oci.image.manifest.v1+json"
        inside = {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest, "size": size}
        document = {"schemaVersion": 2, "mediaType": kind, "config": inside, "layers": descriptors}
        digest, size = self.blob(json.dumps(document).encode())
        named = {"org.opencontainers.image.ref.name": name}
        index = {"mediaType": kind, "digest": digest, "size": size, "annotations": named}
        (self.directory / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [index]}))
        archive = self.directory.with_suffix(".tar")
        names = ("oci-layout", "index.json", "blobs")
        subprocess.run(["tar", "-cf", str(archive), "-C", str(self.directory), *names], check=True)
        return archive


def _digest(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _compressed(plain: Path, how: str) -> tuple[Path, str, str]:
    """A layer of a tar, compressed: file, media type's suffix, diff ID."""
    target = plain.with_suffix(f".tar.{how}")
    if how == "gzip":
        with plain.open("rb") as source, gzip.open(target, "wb", 6) as sink:
            shutil.copyfileobj(source, sink, 1 << 20)
    elif how == "zstd":
        import zstandard

        with plain.open("rb") as source, target.open("wb") as sink:
            zstandard.ZstdCompressor(level=3).copy_stream(source, sink)
    return target, f"+{how}", f"sha256:{_digest(plain)}"


class Benchmark:
    """Ours and theirs. ``directory`` holds what is measured with, ``disks`` what is written in a measurement."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.environment = peers.environment()
        self.rows: list[Row] = []

    def measure(self) -> None:
        """Fill the table."""
        plain = Files().tar(self.directory / "layer.tar", LAYER_BYTES)
        self.unpacking(plain)
        plain.unlink()
        self.pulling()
        self.memory()
        self.building()

    def add(self, row: Row) -> None:
        """Remember and show a row."""
        self.rows.append(row)
        print(f"  {row.cells()}", flush=True)

    def timed(self, *words: str, **environment: str) -> float:
        """Seconds of a whole process, which must succeed."""
        act = measuring.process(
            [shutil.which(words[0]) or words[0], *words[1:]], {**self.environment, **environment}
        )
        begin = time.perf_counter()
        act()
        return time.perf_counter() - begin

    def on_fresh_disk(self, act: Callable[[Path, ExitStack], float]) -> float:
        """What ``act`` measured in a directory of a new file system; its stack ends what it started."""
        with stage.fresh_disk(self.directory) as place, ExitStack() as ending:
            return act(place, ending)

    def rounds(self, *acts: Callable[[Path, ExitStack], float]) -> list[float]:
        """The median of each, taken in turns, so that what disturbs one disturbs all."""
        times = [[self.on_fresh_disk(act) for act in acts] for _ in range(ROUNDS)]
        return [statistics.median(column) for column in zip(*times, strict=True)]

    def engine(self, place: Path, ending: ExitStack, insecure: str = "") -> PrivateEngine:
        """A daemon whose data lie in ``place``."""
        engine = PrivateEngine(place / "multios")
        if insecure:
            with engine.config.open("a") as file:
                file.write(f'[image.registry]\ninsecure = ["{insecure}"]\n')
        ending.callback(engine.end)
        engine.start()
        return engine

    # --- layers ----------------------------------------------------------------------------------

    def unpacking(self, plain: Path) -> None:
        """One layer of 600 MB: by tar's side, and a whole image loaded and unpacked by podman's."""
        layers = {how: _compressed(plain, how) for how in ("gzip", "zstd")}
        layer = self.directory / "layer.gz"
        shutil.copy(layers["gzip"][0], layer)
        archives = {
            how: Layout(self.directory / how).image("layer:1", [found]) for how, found in layers.items()
        }
        diff_id = layers["gzip"][2]

        def ours_alone(place: Path, ending: ExitStack) -> float:
            from multios.layers.unpack import unpack

            target = place / "target"
            target.mkdir()
            begin = time.perf_counter()
            with layer.open("rb", buffering=0) as stream:
                done = unpack(stream, target)
            taken = time.perf_counter() - begin
            assert done.digest == diff_id and done.blob == f"sha256:{_digest(layer)}"
            return taken

        def gnu_tar(place: Path, ending: ExitStack) -> float:
            (place / "target").mkdir()
            return self.timed("tar", "-xzf", str(layer), "-C", str(place / "target"))

        def ours(how: str) -> Callable[[Path, ExitStack], float]:
            def act(place: Path, ending: ExitStack) -> float:
                engine = self.engine(place, ending)
                begin = time.perf_counter()
                engine.run("image", "load", "--quiet", "--input", str(archives[how]))
                engine.run("create", "--name", "unpacked", "layer:1", "true")
                return time.perf_counter() - begin

            return act

        def podman(place: Path, ending: ExitStack) -> float:
            roots = ("--root", str(place / "podman"), "--runroot", str(place / "run"))
            taken = self.timed("podman", *roots, "load", "--quiet", "--input", str(archives["gzip"]))
            ending.callback(subprocess.run, ["umount", str(place / "podman/overlay")], capture_output=True)
            return taken

        alone, tar, loaded, loaded_zstd, theirs = self.rounds(
            ours_alone, gnu_tar, ours("gzip"), ours("zstd"), podman
        )
        self.add(Row("unpack a 600 MB gzip layer, both digests", alone, "s", "tar -xzf", tar, 0.7))
        self.add(
            Row(
                "`image load` of it and `create`, so that it is unpacked",
                loaded,
                "s",
                "podman load",
                theirs,
                0.4,
            )
        )
        self.add(Row("the same as zstd", loaded_zstd, "s", "podman load of gzip", theirs, 0.3))

    # --- pulls -----------------------------------------------------------------------------------

    def pulling(self) -> None:
        """Five layers from a registry on loopback, unpacked at the end."""
        files = Files()
        plain = [
            files.tar(self.directory / f"{number}.tar", PULL_LAYER_BYTES) for number in range(PULL_LAYERS)
        ]
        archive = Layout(self.directory / "five").image("five:1", [_compressed(tar, "gzip") for tar in plain])
        with registry_server.registry(self.directory / "registry") as server:
            name = f"{server.host}/lab/five:1"
            self.timed(
                "skopeo",
                "copy",
                "--quiet",
                "--dest-tls-verify=false",
                f"oci-archive:{archive}",
                f"docker://{name}",
            )

            def ours(place: Path, ending: ExitStack) -> float:
                engine = self.engine(place, ending, server.host)
                return self.timed(*engine.command("image", "pull", "--quiet", name), **engine.environment)

            def skopeo_and_umoci(place: Path, ending: ExitStack) -> float:
                layout = f"{place}/layout"
                copy = (
                    "skopeo",
                    "copy",
                    "--quiet",
                    "--src-tls-verify=false",
                    f"docker://{name}",
                    f"oci:{layout}:1",
                )
                unpack = ("umoci", "unpack", "--image", f"{layout}:1", f"{place}/bundle")
                return self.timed(*copy) + self.timed(*unpack)

            mine, theirs = self.rounds(ours, skopeo_and_umoci)
        self.add(Row("pull 5 layers from loopback", mine, "s", "skopeo copy + umoci unpack", theirs, 0.7))

    def memory(self) -> None:
        """How far the daemon's memory rises in a pull of 2 GB that do not compress."""
        layers = []
        for number in range(BIG_LAYERS):
            plain = self.directory / f"big-{number}.tar"
            content = self.directory / "content"
            with content.open("wb") as file:
                for _ in range(BIG_LAYER_BYTES >> 20):
                    file.write(os.urandom(1 << 20))
            with tarfile.open(plain, "w") as archive:
                archive.add(content, f"content-{number}")
            content.unlink()
            layers.append((plain, "", f"sha256:{_digest(plain)}"))
        layout = Layout(self.directory / "big")
        layout.image("big:1", layers).unlink()
        with registry_server.registry(self.directory / "registry") as server:
            name = f"{server.host}/lab/big:1"
            source = f"oci:{layout.directory}:big:1"
            self.timed("skopeo", "copy", "--quiet", "--dest-tls-verify=false", source, f"docker://{name}")
            shutil.rmtree(layout.directory)

            def peak(place: Path, ending: ExitStack) -> float:
                engine = self.engine(place, ending, server.host)
                engine.import_small_image()
                status = Path(f"/proc/{engine.daemon_pid}/status")
                Path(f"/proc/{engine.daemon_pid}/clear_refs").write_text("5")  # proc(5): the peak begins anew
                before = _kilobytes(status, "VmRSS")
                engine.run("image", "pull", "--quiet", name, timeout=300)
                return (_kilobytes(status, "VmHWM") - before) / 1024

            grown = self.on_fresh_disk(peak)
        self.add(Row("the daemon's peak over its memory before, pull of 2 GB", grown, "MB", bound=64))

    # --- builds ----------------------------------------------------------------------------------

    def building(self) -> None:
        """Twenty small RUN steps, anew and from the cache."""
        context = self.directory / "context"
        context.mkdir()
        steps = [f"RUN echo {number} > /file-{number}" for number in range(STEPS)]
        rootfs = busybox_rootfs.write(self.directory / "rootfs.tar")
        with stage.fresh_disk(self.directory) as place, ExitStack() as ending:
            engine = self.engine(place, ending)
            engine.import_small_image()
            podman = peers.Podman(shutil.which("podman") or "podman", place, rootfs)
            ending.callback(subprocess.run, ["umount", str(place / "podman/overlay")], capture_output=True)
            for name, image in (("Ours", "small:1"), ("Theirs", f"localhost/{peers.IMAGE}")):
                (context / name).write_text("\n".join([f"FROM {image}", *steps, ""]))
            mine = engine.command("image", "build", "--quiet", "-t", "built:1", "-f", str(context / "Ours"))
            roots = podman.base[1:5]
            theirs = [
                "buildah",
                *roots,
                "bud",
                "--quiet",
                "--isolation",
                "chroot",
                "-f",
                str(context / "Theirs"),
            ]
            for what, our_flags, their_flags, peer, bound in (
                (
                    f"build of {STEPS} small RUN steps, nothing cached",
                    ["--no-cache"],
                    ["--no-cache"],
                    "buildah bud",
                    0.2,
                ),
                ("the same, all cached", [], ["--layers"], "buildah bud --layers", 0.3),
            ):
                times: list[tuple[float, float]] = []
                for number in range(BUILD_RUNS + 1):
                    pair = (
                        self.timed(*mine, *our_flags, str(context), **engine.environment),
                        self.timed(*theirs, *their_flags, str(context)),
                    )
                    if number:  # the first fills the caches
                        times.append(pair)
                ours, others = (statistics.median(column) * 1000 for column in zip(*times, strict=True))
                self.add(Row(what, ours, "ms", peer, others, bound))


def _kilobytes(status: Path, key: str) -> int:
    return next(
        int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith(f"{key}:")
    )


def main() -> int:
    """Run everything; the exit status says only whether it could be measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--output", type=Path, default=HERE / "results-images.md", help="where to write the table"
    )
    output: Path = parser.parse_args().output
    stage.enter()
    with tempfile.TemporaryDirectory(prefix="multios-bench-", dir="/var/tmp") as name:
        benchmark = Benchmark(Path(name))
        benchmark.measure()
        versions = [
            peers.quietly(program, "--version").splitlines()[0]
            for program in ("podman", "skopeo", "umoci", "buildah")
        ]
        note = (
            f"Layers and pulls: medians of {ROUNDS}, each on a new ext4. Builds: medians of {BUILD_RUNS}. "
            "`make bench-images` writes this page."
        )
        table.write(output, "Results for images", versions, note, benchmark.rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
