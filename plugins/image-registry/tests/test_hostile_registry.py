"""Registries that hang, lie, cut off, limit or send elsewhere: one clear error, or carried on; nothing half-written."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from multios.drivers.image_source import Credentials, FetchRequest
from multios.errors import InvalidInput, MultiosError, Refused, StepFailed, Unsupported
from multios.model.image import Descriptor
from multios.store.content import ContentStore
from multios_image_registry import RegistrySource, download, session
from registry_box import CONFIG, INDEX, LAYER, MANIFEST, SmallImage, described, digest_of, index_of, source
from scripted_registry import Request, ScriptedRegistry

SECRET = Credentials("alice", "open-sesame")


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "BACK_OFF_SECONDS", 0.01)


@pytest.fixture
def registry() -> Iterator[ScriptedRegistry]:
    with ScriptedRegistry(SmallImage(1, 400_000)).serving() as running:
        yield running


@pytest.fixture
def store(tmp_path: Path) -> ContentStore:
    return ContentStore(tmp_path / "content")


@pytest.fixture
def driver(tmp_path: Path) -> RegistrySource:
    return source(tmp_path / "state")


@pytest.fixture
def impatient(tmp_path: Path) -> RegistrySource:
    """For registries that fall silent; with any other a busy machine may pause as long."""
    return source(tmp_path / "state", stall_timeout=0.4)


def pull(
    driver: RegistrySource,
    registry: ScriptedRegistry,
    store: ContentStore,
    credentials: Credentials | None = None,
    progress: Callable[..., None] = lambda *_: None,
) -> Descriptor:
    image = driver.resolve(registry.reference)
    assert image is not None
    given = {registry.host: credentials} if credentials else {}
    return driver.fetch(image, store, progress, FetchRequest(credentials=given))


def stored(store: ContentStore) -> set[str]:
    assert not list((store.directory / "ingest").iterdir())
    return {f"sha256:{file.name}" for file in (store.directory / "blobs/sha256").iterdir()}


def layer_of(registry: ScriptedRegistry) -> str:
    return digest_of(registry.image.layers[0])


def once(script: Callable[[Request], None], registry: ScriptedRegistry) -> Callable[[Request], None]:
    """``script`` for the first request, a good answer to the others."""
    done = threading.Event()

    def handle(request: Request) -> None:
        if done.is_set():
            registry.serve(request)
        else:
            done.set()
            script(request)

    return handle


# --- silence ----------------------------------------------------------------------------------------


def test_a_registry_that_hangs_is_given_up(
    impatient: RegistrySource, registry: ScriptedRegistry, store: ContentStore
) -> None:
    release = threading.Event()
    registry.scripts["/manifests/"] = lambda _: release.wait(60) and None
    began = time.monotonic()
    try:
        with pytest.raises(StepFailed, match=r"stopped answering \(it fell silent\)"):
            pull(impatient, registry, store)
        assert time.monotonic() - began < 30
    finally:
        release.set()


def test_a_layer_that_stalls_twice_is_given_up(
    impatient: RegistrySource, registry: ScriptedRegistry, store: ContentStore
) -> None:
    release = threading.Event()

    def stall(request: Request) -> None:
        request.answer(200, b"", length=len(registry.image.layers[0]))
        release.wait(60)

    registry.scripts[layer_of(registry)] = stall
    try:
        with pytest.raises(StepFailed, match="fell silent"):
            pull(impatient, registry, store)
    finally:
        release.set()
    assert layer_of(registry) not in stored(store)


def test_a_registry_that_nobody_runs_is_told_at_once(driver: RegistrySource, store: ContentStore) -> None:
    began = time.monotonic()
    with contextlib.suppress(OSError):
        socket.getaddrinfo("registry.invalid", 443)
    look_up = time.monotonic() - began  # this host's resolver may take its time to know nothing
    began = time.monotonic()
    for name in ("127.0.0.1:1/a/b:1", "registry.invalid/a/b:1"):
        image = driver.resolve(name)
        assert image is not None
        with pytest.raises(StepFailed, match="cannot be reached"):
            driver.fetch(image, store, lambda *_: None)
    assert time.monotonic() - began < 5 + 3 * look_up


def test_a_drip_is_too_slow(
    driver: RegistrySource, registry: ScriptedRegistry, store: ContentStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "_WINDOW_SECONDS", 0.2)

    def drip(request: Request) -> None:
        request.answer(200, b"", length=len(registry.image.layers[0]))
        for byte in registry.image.layers[0][:50]:
            request.wfile.write(bytes([byte]))
            time.sleep(0.02)

    registry.scripts[layer_of(registry)] = drip
    with pytest.raises(StepFailed, match="too slow|broke|silent|early"):
        pull(driver, registry, store)


# --- cuts -------------------------------------------------------------------------------------------


def cut_after(registry: ScriptedRegistry, count: int) -> Callable[[Request], None]:
    def cut(request: Request) -> None:
        request.answer(200, registry.image.layers[0][:count], length=len(registry.image.layers[0]))
        request.cut()

    return cut


def test_a_cut_is_resumed_where_it_was(
    driver: RegistrySource, registry: ScriptedRegistry, store: ContentStore
) -> None:
    registry.scripts[layer_of(registry)] = once(cut_after(registry, 100_000), registry)
    pull(driver, registry, store)
    assert registry.headers("Range") == ["bytes=100000-"]
    assert registry.headers("If-Range") == [f'"{layer_of(registry)}"']
    assert layer_of(registry) in stored(store)


def test_a_registry_that_ignores_ranges_is_read_again(
    driver: RegistrySource, registry: ScriptedRegistry, store: ContentStore
) -> None:
    whole = registry.image.layers[0]
    first = once(cut_after(registry, 100_000), registry)

    def handle(request: Request) -> None:
        request.answer(200, whole) if request.headers.get("Range") else first(request)

    registry.scripts[layer_of(registry)] = handle
    pull(driver, registry, store)
    assert layer_of(registry) in stored(store)


def test_a_resumed_part_must_be_the_one_asked_for(
    driver: RegistrySource, registry: ScriptedRegistry, store: ContentStore
) -> None:
    whole = registry.image.layers[0]
    first = once(cut_after(registry, 100_000), registry)

    def handle(request: Request) -> None:
        if request.headers.get("Range"):
            request.answer(206, whole[50:], Content_Range=f"bytes 50-{len(whole) - 1}/{len(whole)}")
        else:
            first(request)

    registry.scripts[layer_of(registry)] = handle
    with pytest.raises(StepFailed, match="another part"):
        pull(driver, registry, store)


def test_a_layer_that_is_always_cut_is_given_up_and_the_others_stay_for_the_next_pull(
    driver: RegistrySource, store: ContentStore
) -> None:
    image = SmallImage(3, 50_000, name="cut")
    with ScriptedRegistry(image).serving() as registry:
        last = digest_of(image.layers[2])
        registry.scripts[last] = lambda request: request.cut()
        with pytest.raises(StepFailed, match="stopped answering"):
            pull(driver, registry, store)
        kept = set(driver.kept_digests())
        assert {digest_of(data) for data in image.layers[:2]} <= kept
        store.collect_garbage(kept)
        del registry.scripts[last]
        registry.asked.clear()
        pull(driver, registry, store)
        assert [path.rpartition("/")[2] for path in registry.paths("/blobs/")] == [
            digest_of(image.config),
            last,
        ]
        assert not list(driver.kept_digests())


# --- limits and failures that pass ------------------------------------------------------------------


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_what_fails_for_now_is_asked_again(
    status: int, driver: RegistrySource, registry: ScriptedRegistry, store: ContentStore
) -> None:
    for part in ("/manifests/", layer_of(registry)):
        registry.scripts[part] = once(lambda request: request.answer(status, b"later"), registry)
    pull(driver, registry, store)


def test_the_wait_that_a_registry_asks_for_is_kept(
    driver: RegistrySource, registry: ScriptedRegistry, store: ContentStore
) -> None:
    registry.scripts["/manifests/"] = once(lambda request: request.answer(429, Retry_After="1"), registry)
    began = time.monotonic()
    pull(driver, registry, store)
    assert 1 <= time.monotonic() - began < 20


def test_a_wait_that_is_too_long_is_told(
    driver: RegistrySource, registry: ScriptedRegistry, store: ContentStore
) -> None:
    body = b'{"errors":[{"code":"TOOMANYREQUESTS","message":"you have reached your pull rate limit"}]}'
    registry.scripts["/manifests/"] = lambda request: request.answer(429, body, Retry_After="86400")
    with pytest.raises(StepFailed, match="limits how often .* pull rate limit"):
        pull(driver, registry, store)
    assert len(registry.asked) <= 2


def test_what_keeps_failing_is_told_after_some_attempts(
    driver: RegistrySource, registry: ScriptedRegistry, store: ContentStore
) -> None:
    registry.scripts["/manifests/"] = lambda request: request.answer(503)
    with pytest.raises(StepFailed, match="answered 503"):
        pull(driver, registry, store)
    assert len(registry.asked) == 4


# --- lies -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"", MANIFEST),
        (b"\x00\xff garbage", MANIFEST),
        (b"[]", MANIFEST),
        (b"{}", MANIFEST),
        (b"null", ""),
        (b"[" * 100_000, MANIFEST),
        (b"<html>welcome</html>", "text/html"),
        (json.dumps({"schemaVersion": 2, "config": 3, "layers": []}).encode(), MANIFEST),
        (json.dumps({"schemaVersion": 2, "config": {}, "layers": [3]}).encode(), MANIFEST),
        (json.dumps({"schemaVersion": 2, "manifests": [{"digest": "sha256:../../x"}]}).encode(), INDEX),
        (
            json.dumps(
                {
                    "schemaVersion": 2,
                    "config": {"mediaType": CONFIG, "digest": "sha256:" + "0" * 64, "size": -1},
                    "layers": [],
                }
            ).encode(),
            MANIFEST,
        ),
        (
            json.dumps(
                {
                    "schemaVersion": 2,
                    "config": {"mediaType": CONFIG, "digest": "sha256:" + "0" * 64, "size": 1 << 50},
                    "layers": [],
                }
            ).encode(),
            MANIFEST,
        ),
    ],
)
def test_garbage_is_refused(
    body: bytes, kind: str, driver: RegistrySource, registry: ScriptedRegistry, store: ContentStore
) -> None:
    registry.scripts["/manifests/"] = lambda request: request.answer(200, body, Content_Type=kind)
    with pytest.raises(MultiosError) as caught:
        pull(driver, registry, store)
    assert "\n" not in caught.value.cause
    assert stored(store) == set()


def test_an_endless_manifest_is_not_read_to_its_end(
    driver: RegistrySource, registry: ScriptedRegistry, store: ContentStore
) -> None:
    def endless(request: Request) -> None:
        request.send_response(200)
        request.send_header("Content-Type", MANIFEST)
        request.end_headers()
        while True:
            request.wfile.write(b" " * 65536)

    registry.scripts["/manifests/"] = endless
    with pytest.raises(StepFailed, match="a document of more than"):
        pull(driver, registry, store)


def test_a_manifest_that_lies_about_its_type_is_refused(
    driver: RegistrySource, registry: ScriptedRegistry, store: ContentStore
) -> None:
    both = {**registry.image.manifest, "manifests": []}
    for body, kind in (
        (json.dumps(both).encode(), MANIFEST),
        (registry.image.data, INDEX),
        (json.dumps({**both, "mediaType": INDEX}).encode(), MANIFEST),
    ):
        registry.scripts["/manifests/"] = lambda request, body=body, kind=kind: request.answer(  # type: ignore[misc]
            200, body, Content_Type=kind
        )
        with pytest.raises(InvalidInput, match="lies about its media type"):
            pull(driver, registry, store)


def test_schema_1_is_refused_in_one_line(
    driver: RegistrySource, registry: ScriptedRegistry, store: ContentStore
) -> None:
    kind = "application/vnd.docker.distribution.manifest.v1+prettyjws"
    registry.scripts["/manifests/"] = lambda request: request.answer(
        200, b'{"schemaVersion": 1, "name": "lab/image", "fsLayers": []}', Content_Type=kind
    )
    with pytest.raises(Unsupported, match="schema 1"):
        pull(driver, registry, store)


def test_an_artifact_that_is_no_image_is_refused(
    driver: RegistrySource, registry: ScriptedRegistry, store: ContentStore
) -> None:
    registry.image.manifest["config"]["mediaType"] = "application/vnd.cncf.helm.config.v1+json"
    with pytest.raises(Unsupported, match=r"vnd\.cncf\.helm\.config.* is no container image"):
        pull(driver, registry, store)


def test_what_is_not_as_its_digest_says_is_refused(
    driver: RegistrySource, registry: ScriptedRegistry, store: ContentStore
) -> None:
    wrong = bytes(len(registry.image.layers[0]))
    registry.scripts[layer_of(registry)] = lambda request: request.answer(200, wrong)
    with pytest.raises(InvalidInput, match="content has digest"):
        pull(driver, registry, store)
    assert stored(store) == set()


def test_a_config_that_is_not_as_its_digest_says_is_refused(
    driver: RegistrySource, registry: ScriptedRegistry, store: ContentStore
) -> None:
    config = registry.image.config
    registry.scripts[digest_of(config)] = lambda request: request.answer(200, config.replace(b"sh", b"rm"))
    with pytest.raises(InvalidInput, match="not what its digest says"):
        pull(driver, registry, store)


def test_a_manifest_asked_for_by_digest_must_have_it(
    driver: RegistrySource, registry: ScriptedRegistry, store: ContentStore
) -> None:
    asked = "sha256:" + "1" * 64
    registry.scripts[asked] = lambda request: request.answer(
        200, registry.image.data, Content_Type=MANIFEST, Docker_Content_Digest=asked
    )
    image = driver.resolve(f"{registry.host}/lab/image@{asked}")
    assert image is not None
    with pytest.raises(StepFailed, match="when asked for"):
        driver.fetch(image, store, lambda *_: None)


def test_a_layer_of_another_size_is_refused_before_it_is_read(
    driver: RegistrySource, registry: ScriptedRegistry, store: ContentStore
) -> None:
    registry.scripts[layer_of(registry)] = lambda request: request.answer(200, b"x" * 500_000)
    with pytest.raises(InvalidInput, match="has 500000 bytes"):
        pull(driver, registry, store)


@pytest.mark.parametrize("length", ["\xb2", "9" * 5000, "-1", "many"])
def test_a_length_that_is_no_number_is_the_registrys_failure(
    driver: RegistrySource, registry: ScriptedRegistry, store: ContentStore, length: str
) -> None:
    registry.scripts[layer_of(registry)] = lambda request: request.answer(200, b"x" * 500, length)
    with pytest.raises((InvalidInput, StepFailed)):
        pull(driver, registry, store)


def test_no_more_is_read_than_the_manifest_says(
    driver: RegistrySource, registry: ScriptedRegistry, store: ContentStore
) -> None:
    def endless(request: Request) -> None:
        request.send_response(200)
        request.end_headers()
        request.wfile.write(registry.image.layers[0])
        for _ in range(10_000):
            request.wfile.write(b"x" * 65536)

    seen: list[int] = []
    registry.scripts[layer_of(registry)] = endless
    pull(driver, registry, store, progress=lambda _, done, total: seen.append(done))
    assert max(seen) == len(registry.image.layers[0])


def test_an_index_that_leads_from_one_to_another_ends(
    driver: RegistrySource, registry: ScriptedRegistry, store: ContentStore
) -> None:
    documents = [registry.image.data]
    kind = MANIFEST
    for _ in range(6):
        entry = {**described(kind, documents[-1]), "platform": {"os": "linux", "architecture": "amd64"}}
        documents.append(json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry]}).encode())
        kind = INDEX
    by_digest = {digest_of(data): data for data in documents}

    def serve(request: Request) -> None:
        data = by_digest.get(request.path.rpartition("/")[2], documents[-1])
        request.answer(200, data, Content_Type=INDEX if data is not documents[0] else MANIFEST)

    registry.scripts["/manifests/"] = serve
    with pytest.raises(InvalidInput, match="leads from one to another"):
        pull(driver, registry, store)
    assert len(registry.asked) <= 5


def test_an_index_that_lies_about_its_manifest_is_refused(
    driver: RegistrySource, registry: ScriptedRegistry, store: ContentStore
) -> None:
    index = json.loads(index_of((registry.image, {"os": "linux", "architecture": "amd64"})))
    index["manifests"][0]["size"] += 1
    body = json.dumps(index).encode()
    registry.scripts["/manifests/1"] = lambda request: request.answer(200, body, Content_Type=INDEX)
    registry.scripts["/manifests/sha256"] = lambda request: request.answer(
        200, registry.image.data, Content_Type=MANIFEST
    )
    with pytest.raises(InvalidInput, match="the index lies"):
        pull(driver, registry, store)


def test_attestations_in_an_index_are_no_platforms(
    driver: RegistrySource, registry: ScriptedRegistry, store: ContentStore
) -> None:
    index = index_of((registry.image, {"os": "unknown", "architecture": "unknown"}))
    registry.scripts["/manifests/"] = lambda request: request.answer(200, index, Content_Type=INDEX)
    with pytest.raises(Unsupported) as caught:
        pull(driver, registry, store)
    assert caught.value.remedy == "there is: none for any platform"


@pytest.mark.parametrize(
    "config",
    [
        b"{}",
        b'{"rootfs": {"diff_ids": ["sha256:1"]}}',
        b'{"rootfs": {"diff_ids": []}}',
        b'{"rootfs": 3}',
        b"not json",
    ],
)
def test_a_config_that_does_not_fit_is_refused(
    config: bytes, driver: RegistrySource, store: ContentStore
) -> None:
    image = SmallImage(1)
    image.config = config
    image.manifest["config"] = described(CONFIG, config)
    with ScriptedRegistry(image).serving() as registry, pytest.raises(InvalidInput):
        pull(driver, registry, store)
    assert stored(store) == set()


def test_too_many_layers_and_layers_of_unknown_types_are_refused(
    driver: RegistrySource, store: ContentStore
) -> None:
    image = SmallImage(1)
    with ScriptedRegistry(image).serving() as registry:
        image.manifest["layers"] = [described(LAYER, image.layers[0])] * 129
        with pytest.raises(InvalidInput, match="129 layers"):
            pull(driver, registry, store)
        image.manifest["layers"] = [described("application/vnd.wasm.content.layer.v1+wasm", b"")]
        with pytest.raises(Unsupported, match="not a layer"):
            pull(driver, registry, store)


# --- credentials ------------------------------------------------------------------------------------


def test_credentials_do_not_follow_a_redirect_to_another_host(
    driver: RegistrySource, registry: ScriptedRegistry, store: ContentStore
) -> None:
    with ScriptedRegistry(registry.image).serving() as elsewhere:

        def guarded(request: Request) -> None:
            if not request.headers.get("Authorization"):
                request.answer(401, WWW_Authenticate='Basic realm="x"')
            elif "/blobs/" in request.path:
                request.answer(307, Location=f"http://{elsewhere.host}{request.path}?signed=1")
            else:
                registry.serve(request)

        elsewhere.scripts["?signed=1"] = lambda request: elsewhere.serve(_without_query(request))
        registry.scripts["/v2/"] = guarded
        pull(driver, registry, store, SECRET)
        assert registry.headers("Authorization")
        assert elsewhere.asked
        assert elsewhere.headers("Authorization") == []


def _without_query(request: Request) -> Request:
    request.path = request.path.partition("?")[0]
    return request


def test_a_cut_behind_a_redirect_is_resumed_through_the_registry(
    driver: RegistrySource, registry: ScriptedRegistry, store: ContentStore
) -> None:
    with ScriptedRegistry(registry.image).serving() as elsewhere:
        registry.scripts["/blobs/"] = lambda request: request.answer(
            302, Location=f"http://{elsewhere.host}{request.path}"
        )
        elsewhere.scripts[layer_of(registry)] = once(cut_after(registry, 1000), elsewhere)
        pull(driver, registry, store)
        assert elsewhere.headers("Range") == ["bytes=1000-"]


@pytest.mark.parametrize(
    "target",
    ["http://192.0.2.1/x", "file:///etc/shadow", "ftp://127.0.0.1/x", "http://[::1", "//", "https://"],
)
def test_a_redirect_out_of_what_is_allowed_is_refused(
    target: str, driver: RegistrySource, registry: ScriptedRegistry, store: ContentStore
) -> None:
    registry.scripts["/blobs/"] = lambda request: request.answer(302, Location=target)
    with pytest.raises(MultiosError, match="not secure|without end|no address"):
        pull(driver, registry, store)


def test_redirects_end(driver: RegistrySource, registry: ScriptedRegistry, store: ContentStore) -> None:
    registry.scripts["/manifests/"] = lambda request: request.answer(302, Location=request.path)
    with pytest.raises(StepFailed, match="redirects without end"):
        pull(driver, registry, store)


def test_a_password_is_not_sent_to_a_token_server_in_plain(
    driver: RegistrySource, registry: ScriptedRegistry, store: ContentStore
) -> None:
    registry.scripts["/v2/"] = lambda request: request.answer(
        401, WWW_Authenticate='Bearer realm="http://192.0.2.1/token",service="x"'
    )
    with pytest.raises(StepFailed, match=r"192\.0\.2\.1/token, which is not secure"):
        pull(driver, registry, store, SECRET)


@pytest.mark.parametrize(
    "answer",
    [b"", b"[]", b"{}", b'{"token": 3}', b'{"token": "a\\r\\nX-Evil: 1"}', b'{"token": "' + b"x" * 300_000],
)
def test_a_token_that_is_none_is_refused(
    answer: bytes, driver: RegistrySource, registry: ScriptedRegistry, store: ContentStore
) -> None:
    registry.scripts["/token"] = lambda request: request.answer(200, answer)
    registry.scripts["/v2/"] = lambda request: request.answer(
        401, WWW_Authenticate=f'Bearer realm="http://{registry.host}/token"'
    )
    with pytest.raises(StepFailed, match="token|document"):
        pull(driver, registry, store)


def test_a_registry_that_refuses_every_token_is_not_asked_for_ever(
    driver: RegistrySource, registry: ScriptedRegistry, store: ContentStore
) -> None:
    registry.scripts["/token"] = lambda request: request.answer(200, b'{"token": "abc"}')
    registry.scripts["/v2/"] = lambda request: request.answer(
        401, WWW_Authenticate=f'Bearer realm="http://{registry.host}/token"'
    )
    with pytest.raises(Refused):
        pull(driver, registry, store, SECRET)
    assert len(registry.asked) <= 4


def test_secrets_are_in_no_error_and_no_log(
    driver: RegistrySource,
    registry: ScriptedRegistry,
    store: ContentStore,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("DEBUG")
    registry.scripts["/v2/"] = lambda request: request.answer(401, WWW_Authenticate='Basic realm="x"')
    with pytest.raises(Refused) as caught:
        pull(driver, registry, store, SECRET)
    encoded = registry.headers("Authorization")[0].split()[1]
    for text in (str(caught.value.to_wire()), caplog.text, repr(SECRET)):
        assert SECRET.password not in text
        assert encoded not in text


def test_terminal_escapes_of_a_registry_are_not_shown(
    driver: RegistrySource, registry: ScriptedRegistry, store: ContentStore
) -> None:
    body = json.dumps({"errors": [{"message": "\x1b[2Jowned\n" + "x" * 5000}]}).encode()
    registry.scripts["/manifests/"] = lambda request: request.answer(404, body)
    with pytest.raises(MultiosError) as caught:
        pull(driver, registry, store)
    assert "\x1b" not in caught.value.cause and "\n" not in caught.value.cause
    assert len(caught.value.cause) < 400


# --- several at once --------------------------------------------------------------------------------


def test_pulls_at_once_fetch_each_layer_once(
    driver: RegistrySource, tmp_path: Path, registry: ScriptedRegistry, store: ContentStore
) -> None:
    def slow(request: Request) -> None:
        time.sleep(0.1)
        registry.serve(request)

    registry.scripts[layer_of(registry)] = slow
    failures: list[BaseException] = []

    def work() -> None:
        try:
            pull(driver, registry, store)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert len(registry.paths(layer_of(registry))) == 1


def test_a_pull_that_nobody_waits_for_ends_and_what_has_come_stays(
    driver: RegistrySource, store: ContentStore
) -> None:
    image = SmallImage(2, 10_000, name="left")
    first, last = (digest_of(data) for data in image.layers)
    with ScriptedRegistry(image).serving() as registry:

        def drip(request: Request) -> None:
            request.answer(200, b"", length=len(image.layers[1]))
            for byte in image.layers[1][:3000]:
                request.wfile.write(bytes([byte]))
                time.sleep(0.02)

        registry.scripts[last] = drip
        resolved = driver.resolve(registry.reference)
        assert resolved is not None
        began = time.monotonic()
        with pytest.raises(StepFailed, match="nobody waits"):
            request = FetchRequest(is_wanted=lambda: not store.has(first))
            driver.fetch(resolved, store, lambda *_: None, request)
        assert time.monotonic() - began < 30
        assert first in set(driver.kept_digests())


def test_a_layer_in_chunks_of_unknown_number_is_read(
    driver: RegistrySource, registry: ScriptedRegistry, store: ContentStore
) -> None:
    def chunked(request: Request) -> None:
        request.send_response(200)
        request.send_header("Transfer-Encoding", "chunked")
        request.end_headers()
        data = registry.image.layers[0]
        for start in range(0, len(data), 30_000):
            part = data[start : start + 30_000]
            request.wfile.write(f"{len(part):x}\r\n".encode() + part + b"\r\n")
        request.wfile.write(b"0\r\n\r\n")

    registry.scripts[layer_of(registry)] = chunked
    pull(driver, registry, store)
    assert layer_of(registry) in stored(store)


def test_a_complaint_that_drips_is_not_waited_for(
    driver: RegistrySource, registry: ScriptedRegistry, store: ContentStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "_COMPLAINT_SECONDS", 0.2)

    def drip(request: Request) -> None:
        request.answer(404, b"", length=10_000)
        for _ in range(3000):
            request.wfile.write(b" ")
            time.sleep(0.02)

    registry.scripts["/manifests/"] = drip
    began = time.monotonic()
    with pytest.raises(MultiosError, match="has no such image"):
        pull(driver, registry, store)
    assert time.monotonic() - began < 30


def test_one_bad_layer_ends_the_others(driver: RegistrySource, store: ContentStore) -> None:
    image = SmallImage(6, 10_000, name="many")
    with ScriptedRegistry(image).serving() as registry:
        registry.scripts[digest_of(image.layers[0])] = lambda request: request.answer(403, b"")
        with pytest.raises(Refused):
            pull(driver, registry, store)
    assert digest_of(image.data) not in stored(store)


# --- push -------------------------------------------------------------------------------------------


def test_an_upload_that_is_cut_is_begun_again(
    driver: RegistrySource, registry: ScriptedRegistry, store: ContentStore
) -> None:
    taken: dict[str, int] = {}

    def upload(request: Request) -> None:
        length = int(request.headers.get("Content-Length", 0))
        if request.command == "POST":
            return request.answer(202, Location="/v2/lab/new/blobs/uploads/1")
        if request.command == "HEAD":
            return request.answer(404)
        taken[request.path] = taken.get(request.path, 0) + 1
        if taken[request.path] == 1:
            return request.cut()
        request.rfile.read(length)
        return request.answer(201)

    registry.scripts["/blobs/"] = upload
    registry.scripts["/manifests/"] = lambda request: (request.rfile.read(int(request.headers["Content-Length"])), request.answer(201))[1]  # fmt: skip
    manifest = registry.image.stored(store)
    assert driver.push(f"{registry.host}/lab/new:1", manifest, store, lambda *_: None) == manifest.digest
    assert set(taken.values()) == {2}


@pytest.mark.parametrize("location", ["", "ftp://x/", "http://192.0.2.1/upload"])
def test_an_upload_is_not_sent_where_it_must_not_go(
    location: str, driver: RegistrySource, registry: ScriptedRegistry, store: ContentStore
) -> None:
    def upload(request: Request) -> None:
        request.answer(202, Location=location) if request.command == "POST" else request.answer(404)

    registry.scripts["/blobs/"] = upload
    with pytest.raises(StepFailed, match="where to upload|not secure"):
        driver.push(f"{registry.host}/lab/new:1", registry.image.stored(store), store, lambda *_: None)


# --- artifacts ------------------------------------------------------------------------------------

KIND = "application/vnd.example.lab.v1"


def artifact(
    driver: RegistrySource, registry: ScriptedRegistry, store: ContentStore, largest: int = 1 << 20
) -> Descriptor:
    return driver.fetch_artifact(registry.reference, KIND, largest, store, lambda *_: None)


def test_an_artifact_comes_as_its_one_blob(
    driver: RegistrySource, registry: ScriptedRegistry, store: ContentStore
) -> None:
    registry.image.manifest["artifactType"] = KIND
    blob = artifact(driver, registry, store)
    assert blob.digest == digest_of(registry.image.layers[0])
    assert stored(store) == {blob.digest}


def test_an_artifact_of_another_type_or_shape_is_refused(
    driver: RegistrySource, registry: ScriptedRegistry, store: ContentStore
) -> None:
    with pytest.raises(Unsupported, match=f"not {KIND}"):
        artifact(driver, registry, store)
    registry.image.manifest["artifactType"] = KIND
    with pytest.raises(InvalidInput, match="more than the 1000 allowed"):
        artifact(driver, registry, store, largest=1000)
    registry.image.manifest["layers"] *= 2
    with pytest.raises(InvalidInput, match="2 blobs, and it must be one"):
        artifact(driver, registry, store)
    registry.image.manifest["layers"] = "none"
    with pytest.raises(InvalidInput, match="no list of layers"):
        artifact(driver, registry, store)
    assert stored(store) == set()


def test_an_artifact_that_is_not_as_its_digest_says_is_refused(
    driver: RegistrySource, registry: ScriptedRegistry, store: ContentStore
) -> None:
    registry.image.manifest["artifactType"] = KIND
    wrong = bytes(len(registry.image.layers[0]))
    registry.scripts[layer_of(registry)] = lambda request: request.answer(200, wrong)
    with pytest.raises(InvalidInput, match="content has digest"):
        artifact(driver, registry, store)
    assert stored(store) == set()
