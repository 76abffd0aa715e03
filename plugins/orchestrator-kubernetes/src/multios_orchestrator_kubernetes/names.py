"""Names and labels as Kubernetes allows them; what it does not allow is refused by the field's name."""

from __future__ import annotations

import re

from multios.app_labels import APP_LABEL, FINGERPRINT_LABEL, SERVICE_LABEL
from multios.errors import InvalidInput

FINGERPRINT_ANNOTATION = FINGERPRINT_LABEL
FILES_ANNOTATION = "org.multios.app.files"
"""On pods: a digest of their files, so that a change of one makes new pods."""
RECREATED_ANNOTATION = "org.multios.app.recreated"
"""On pods that were asked to be replaced though nothing changed."""
NETWORK_PREFIX, ALIAS_PREFIX = "network.app.multios.org/", "alias.app.multios.org/"
"""Labels of pods: the networks they are on, and the names they are found under."""
MANAGED_BY = "app.kubernetes.io/managed-by"

_LABEL = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")
_NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_VALUE = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
_QUALIFIED = re.compile(r"([a-z0-9][-a-z0-9.]{0,252}/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")


def host_label(where: str, name: str) -> str:
    """``name`` if it can be a name in the cluster's DNS (RFC 1035); else ``InvalidInput`` for the field ``where``."""
    if not _LABEL.fullmatch(name):
        raise InvalidInput(
            f"{where}: {name!r} is no name in a cluster's DNS",
            "use 1 to 63 of a-z 0-9 -, a letter first and no '-' last",
        )
    return name


def namespace_name(where: str, name: str) -> str:
    """``name`` if a namespace may be called so."""
    if not _NAMESPACE.fullmatch(name):
        raise InvalidInput(
            f"{where}: {name!r} is no name of a namespace",
            "use 1 to 63 of a-z 0-9 -, or name another namespace",
        )
    return name


def label_value(where: str, value: str) -> str:
    """``value`` if a label may have it."""
    if not _VALUE.fullmatch(value):
        raise InvalidInput(
            f"{where}: {value!r} is no value of a label",
            "use 1 to 63 letters, digits, '-', '_' and '.', a letter or digit first and last",
        )
    return value


def annotation_key(where: str, key: str) -> str:
    """``key`` if an annotation may have it."""
    if not _QUALIFIED.fullmatch(key):
        raise InvalidInput(
            f"{where}: {key!r} is no key of an annotation",
            "use letters, digits, '-', '_' and '.', as in com.example/name",
        )
    return key


def object_name(app: str, key: str) -> str:
    """What the app's volume, network or file ``key`` is called in its namespace."""
    plain = re.sub(r"[^a-z0-9.-]+", "-", f"{app}-{key}".lower())
    return re.sub(r"[.-]*\.[.-]*", ".", plain).strip("-.")


def app_labels(app: str, service: str = "") -> dict[str, str]:
    """What every object of the app carries."""
    labels = {APP_LABEL: label_value("name", app), MANAGED_BY: "multios"}
    return {**labels, SERVICE_LABEL: service} if service else labels


def selector(app: str) -> str:
    """Of everything that is the app's."""
    return f"{APP_LABEL}={label_value('name', app)}"
