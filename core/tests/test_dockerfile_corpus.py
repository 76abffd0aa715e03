"""Dockerfiles as people write them, whole: that they are read, and read right."""

from __future__ import annotations

import random
import time

import pytest

from multios.dockerfile import syntax
from multios.dockerfile.parser import parse
from multios.dockerfile.scope import FileScope, StageScope, platform_arguments
from multios.dockerfile.syntax import Dockerfile, DockerfileError, Instruction

INTERPRETER = r"""
# A language's own image, built from source.
FROM buildpack:trixie

# what the interpreter is found by
ENV PATH /opt/lang/bin:$PATH
ENV LANG C.UTF-8

RUN set -eux; \
	apt-get update; \
	apt-get install -y --no-install-recommends \
		libbluetooth-dev \
		# the toolkit's headers
		tk-dev \

		uuid-dev \
	; \
	rm -rf /var/lib/apt/lists/*

ENV LANG_VERSION 3.99.1
ENV LANG_SHA256 "0123456789abcdef"

RUN set -eux; \
	wget -O lang.tar.xz "https://example.org/${LANG_VERSION%%[a-z]*}/lang-$LANG_VERSION.tar.xz"; \
	echo "$LANG_SHA256 *lang.tar.xz" | sha256sum -c -; \
	arch="$(dpkg --print-architecture)"; \
	case "$arch" in amd64) flags='-m64' ;; *) flags= ;; esac; \
	find /opt/lang -depth \
		\( \
			\( -type d -a \( -name test -o -name tests \) \) \
			-o \( -type f -a \( -name '*.pyc' \) \) \
		\) -exec rm -rf '{}' + \
	; \
	lang --version

CMD ["lang"]
"""

WEB = r"""# syntax=docker/dockerfile:1.7
# check=skip=JSONArgsRecommended

ARG NODE=22 VARIANT=slim
ARG BASE=registry.example.org:5000/node:${NODE}-${VARIANT}

FROM --platform=$BUILDPLATFORM ${BASE} AS deps
WORKDIR /app
COPY --link package.json package-lock.json* ./
RUN --mount=type=cache,id=npm-$TARGETARCH,target=/root/.npm,sharing=locked \
    --mount=type=secret,id=npmrc,target=/root/.npmrc \
    npm ci --omit=dev

FROM deps AS build
ARG COMMIT=unknown
ENV NODE_ENV=production \
    COMMIT=${COMMIT:0}
COPY . .
RUN npm run build

FROM ${BASE}
LABEL org.opencontainers.image.title="The shop" \
      org.opencontainers.image.revision="$COMMIT"
USER node:node
WORKDIR /srv
COPY --from=deps --chown=node:node /app/node_modules ./node_modules
COPY --from=build --chown=node:node --chmod=u=rwX,go=rX /app/dist/ ./dist/
EXPOSE 3000/tcp 9229-9230
HEALTHCHECK --interval=30s --timeout=3s --start-period=1m CMD wget -qO- http://localhost:3000/healthz || exit 1
STOPSIGNAL SIGINT
ENTRYPOINT ["node", "--enable-source-maps"]
CMD ["dist/server.js"]
"""

DATABASE = r"""FROM debian:trixie-slim
RUN groupadd -r db --gid=999 && useradd -r -g db --uid=999 db
ENV GOSU_VERSION 1.19
RUN <<'SETUP' && gosu nobody true
set -eux
savedAptMark="$(apt-mark showmanual)"
if ! command -v gpg > /dev/null; then
	apt-get install -y gnupg
fi
# FROM here on nothing is an instruction
SETUP
RUN mkdir /docker-entrypoint-initdb.d
ENV DB_MAJOR=17 DATA=/var/lib/db/data
ENV PATH=$PATH:/usr/lib/db/$DB_MAJOR/bin
COPY <<-EOF <<"HOOK" /etc/db/
	listen_addresses = '*'
	data_directory = '$DATA'
	EOF
echo "$DATA"
HOOK
RUN install --verbose --directory --owner db --group db --mode 3777 /var/run/db
VOLUME $DATA
COPY --chmod=0755 docker-entrypoint.sh docker-ensure-initdb.sh /usr/local/bin/
RUN ln -sT docker-ensure-initdb.sh /usr/local/bin/docker-enforce-initdb.sh
ENTRYPOINT ["docker-entrypoint.sh"]
STOPSIGNAL SIGINT
EXPOSE 5432
CMD ["db"]
"""

COMPILED = r"""
ARG GO_VERSION=1.25
FROM --platform=$BUILDPLATFORM golang:${GO_VERSION}-alpine AS base
SHELL ["/bin/ash", "-eo", "pipefail", "-c"]
WORKDIR /src
ENV CGO_ENABLED=0

FROM base AS test
RUN --mount=target=. --mount=type=cache,target=/root/.cache go test ./...

FROM base AS build
ARG TARGETOS TARGETARCH TARGETVARIANT
ARG VERSION
RUN --mount=type=bind,target=. \
    --mount=type=cache,target=/go/pkg/mod --mount=type=cache,target=/root/.cache/go-build \
    --network=none \
    GOOS=$TARGETOS GOARCH=$TARGETARCH GOARM=${TARGETVARIANT#v} \
    go build -trimpath -ldflags "-s -w -X main.version=${VERSION:-dev}" -o /out/tool ./cmd/tool

FROM scratch AS artifact
COPY --from=build /out/ /

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=artifact /tool /tool
USER 65534:65534
ENTRYPOINT ["/tool"]
"""

WINDOWS_STYLE = r"""# escape=`

FROM tools/base
RUN powershell -Command `
      Write-Host 'a\b'; `
      # a note
      Remove-Item C:\temp\
COPY testfile.txt c:\
WORKDIR c:\app
"""

TRIGGERS = r"""FROM runtime
ONBUILD ARG DEPLOY_ENV
ONBUILD COPY requirements.txt /tmp/
ONBUILD RUN <<EOF
pip install -r /tmp/requirements.txt
EOF
ONBUILD COPY --chown=app . /app
onbuild USER app
MAINTAINER somebody@example.org
Cmd run
"""

CORPUS = {
    "interpreter": INTERPRETER,
    "web": WEB.replace("${COMMIT:0}", "${COMMIT}"),
    "database": DATABASE,
    "compiled": COMPILED,
    "windows style": WINDOWS_STYLE,
    "triggers": TRIGGERS,
}


def _walked(dockerfile: Dockerfile, given: dict[str, str]) -> list[list[Instruction]]:
    """Every stage's instructions with their variables replaced."""
    scope = FileScope(dockerfile, given, platform_arguments("linux/arm/v7", "linux/amd64"))
    found: list[list[Instruction]] = []
    stages: dict[str, StageScope] = {}
    for number, stage in enumerate(dockerfile.stages):
        base = scope.base(stage)
        parent = stages.get(base.image)
        walking = scope.stage(parent.environment if parent else {"PATH": "/bin"}, parent)
        found.append([base, *(walking.apply(instruction) for instruction in stage.instructions)])
        stages[stage.name or str(number)] = walking
    return found


def _of(instructions: list[Instruction], name: str) -> list[Instruction]:
    return [instruction for instruction in instructions if instruction.name == name]


@pytest.mark.parametrize("name", CORPUS)
def test_a_realistic_file_is_read_and_expanded(name: str) -> None:
    for text in (CORPUS[name], CORPUS[name].replace("\n", "\r\n")):
        dockerfile = parse(text.encode(), name)
        assert sum(len(stage) for stage in _walked(dockerfile, {})) > 3


def test_an_interpreters_image() -> None:
    (stage,) = _walked(parse(INTERPRETER), {})
    install, build = _of(stage, "RUN")
    assert isinstance(install, syntax.Run) and isinstance(build, syntax.Run)
    assert "toolkit" not in install.command.text and "\n" not in install.command.text
    assert install.command.text.split()[-7:-2] == ["libbluetooth-dev", "tk-dev", "uuid-dev", ";", "rm"]
    assert "${LANG_VERSION%%[a-z]*}" in build.command.text  # the shell's to replace
    environment = dict(pair for item in _of(stage, "ENV") for pair in getattr(item, "pairs", ()))
    assert environment == {
        "PATH": "/opt/lang/bin:/bin",
        "LANG": "C.UTF-8",
        "LANG_VERSION": "3.99.1",
        "LANG_SHA256": "0123456789abcdef",
    }


def test_a_web_applications_image() -> None:
    dockerfile = parse(CORPUS["web"])
    deps, build, last = _walked(dockerfile, {"COMMIT": "abc", "NODE": "24"})
    assert deps[0] == syntax.From(
        "registry.example.org:5000/node:24-slim",
        "deps",
        "linux/amd64",
        line=7,
        original="FROM --platform=$BUILDPLATFORM ${BASE} AS deps",
    )
    (run,) = _of(deps, "RUN")
    assert isinstance(run, syntax.Run)
    # An automatic argument is not in the stage until it is declared there.
    assert [mount.id for mount in run.mounts] == ["npm-", "npmrc"]
    assert run.command.text == "npm ci --omit=dev"
    (env,) = _of(build, "ENV")
    assert isinstance(env, syntax.Env) and dict(env.pairs)["COMMIT"] == "abc"
    (label,) = _of(last, "LABEL")
    assert isinstance(label, syntax.Label)
    assert dict(label.pairs)["org.opencontainers.image.revision"] == ""  # another stage's argument
    (expose,) = _of(last, "EXPOSE")
    assert isinstance(expose, syntax.Expose) and expose.ports == ("3000/tcp", "9229/tcp", "9230/tcp")
    assert len(dockerfile.notes) == 2


def test_a_substring_modifier_is_bashs_alone() -> None:
    with pytest.raises(DockerfileError, match=r"^Dockerfile:16: .*unknown modifier '0'"):
        _walked(parse(WEB), {})


def test_a_databases_image() -> None:
    (stage,) = _walked(parse(DATABASE), {})
    setup = _of(stage, "RUN")[1]
    assert isinstance(setup, syntax.Run)
    assert setup.command.script.startswith("<<'SETUP' && gosu nobody true\nset -eux\n")
    assert setup.command.script.endswith("# FROM here on nothing is an instruction\nSETUP")
    documents = _of(stage, "COPY")[0]
    assert isinstance(documents, syntax.Copy)
    assert [document.text for document in documents.heredocs] == [
        "listen_addresses = '*'\ndata_directory = '/var/lib/db/data'\n",
        'echo "$DATA"\n',
    ]
    (volume,) = _of(stage, "VOLUME")
    assert isinstance(volume, syntax.Volume) and volume.paths == ("/var/lib/db/data",)


def test_a_compiled_programs_image() -> None:
    dockerfile = parse(COMPILED)
    assert [stage.name for stage in dockerfile.stages] == ["base", "test", "build", "artifact", ""]
    build = _walked(dockerfile, {"VERSION": "1"})[2]
    (run,) = _of(build, "RUN")
    assert isinstance(run, syntax.Run)
    assert run.network == "none"
    assert [mount.kind for mount in run.mounts] == ["bind", "cache", "cache"]
    assert run.command.text.startswith("GOOS=$TARGETOS")


def test_the_other_escape() -> None:
    (stage,) = _walked(parse(WINDOWS_STYLE), {})
    run, copy, workdir = stage[1:]
    assert isinstance(run, syntax.Run) and run.command.text.endswith("Remove-Item C:\\temp\\")
    assert isinstance(copy, syntax.Copy) and copy.destination == "c:\\"
    assert isinstance(workdir, syntax.Workdir) and workdir.path == "c:\\app"


def test_triggers() -> None:
    (stage,) = _walked(parse(TRIGGERS), {})
    triggers = [item.trigger for item in stage if isinstance(item, syntax.Onbuild)]
    assert triggers[2] == "RUN <<EOF\npip install -r /tmp/requirements.txt\nEOF"
    assert triggers[4] == "USER app"
    assert isinstance(stage[-1], syntax.Cmd) and stage[-1].command.text == "run"


def test_damaged_files_are_read_or_refused_within_bounded_time() -> None:
    """Bytes of the corpus lost, doubled, swapped and replaced, from a fixed seed."""
    chance = random.Random(7)
    texts = [text.encode() for text in CORPUS.values()]
    alphabet = b"\\`\"'$\n\r\t <>[]{}#=,-:\x00\xff\xe2aE"
    longest = 0.0
    for _ in range(1500):
        data = bytearray(chance.choice(texts))
        for _ in range(chance.randint(1, 8)):
            place = chance.randrange(len(data))
            match chance.randrange(4):
                case 0:
                    del data[place : place + chance.randint(1, 40)]
                case 1:
                    data[place:place] = data[place : place + chance.randint(1, 200)] * chance.randint(1, 3)
                case 2:
                    data[place] = chance.choice(alphabet)
                case _:
                    data[place:place] = bytes(chance.choices(alphabet, k=chance.randint(1, 12)))
            data = data or bytearray(b"x")
        started = time.thread_time()
        try:
            _walked(parse(bytes(data)), {"COMMIT": "x" * 1000})
        except DockerfileError as error:
            assert error.cause.startswith("Dockerfile:") and error.remedy
            assert "\n" not in error.cause
        longest = max(longest, time.thread_time() - started)
    assert longest < 1
