"""Removing big trees without delay: renamed into a trash directory at once, deleted in the background."""

from __future__ import annotations

import logging
import os
import secrets
import threading

from multios.layers.trees import remove_tree

log = logging.getLogger(__name__)


class Trash:
    """The trash directory ``path``; what a killed process left in it goes when :meth:`empty` is called."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._worker: threading.Thread | None = None
        self._more = False

    def put(self, path: str) -> None:
        """Move the tree ``path`` away and have it deleted; absent is no error."""
        try:
            os.rename(path, f"{self.path}/{secrets.token_hex(8)}")
        except FileNotFoundError:
            return
        self.empty()

    def empty(self) -> None:
        """Delete all that is in the trash, in a thread that ends when it is done."""
        with self._lock:
            self._more = True
            if self._worker is None:
                self._worker = threading.Thread(target=self._work, name="trash", daemon=True)
                self._worker.start()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until nothing is being deleted; whether that came within ``timeout`` seconds."""
        with self._lock:
            worker = self._worker
        if worker is not None:
            worker.join(timeout)
            return not worker.is_alive()
        return True

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._more:
                    self._worker = None
                    return
                self._more = False
            self._delete_all()

    def _delete_all(self) -> None:
        path = os.fsencode(self.path)
        try:
            names = os.listdir(path)
        except FileNotFoundError:  # the whole state directory went
            return
        for name in names:
            try:
                remove_tree(path + b"/" + name)
            except OSError as error:  # tried again at the next start
                log.warning("cannot delete %s: %s", os.fsdecode(path + b"/" + name), error.strerror)
