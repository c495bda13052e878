"""Whether model hub and other servers answer, found out soon: their clients retry for half a minute."""

from __future__ import annotations

import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")

HUB_TIMEOUT_S = 2.5
"""Seconds a server has to answer before it counts as out of reach; hub clients and pip retry for half a minute."""

REMEMBERED_S = 60.0
"""For so many seconds a server is not asked again."""


def hub_answers() -> bool:
    """Whether the model hub answers at all, within HUB_TIMEOUT_S."""
    url = hub_to_ask()
    return url is not None and answers(url)


def hub_to_ask() -> str | None:
    """The hub's address; None where it is not to be asked."""
    from huggingface_hub import constants

    return None if constants.HF_HUB_OFFLINE else constants.ENDPOINT


def answers(url: str) -> bool:
    """Whether a server answers at all, within HUB_TIMEOUT_S; not asked again for REMEMBERED_S."""
    return begin_to_ask(url).result()


_asked: dict[str, tuple[float, Future[bool]]] = {}
"""When each server was asked, and its answer."""


def begin_to_ask(url: str) -> Future[bool]:
    """Ask whether a server answers, without waiting for it."""
    asked_at, answer = _asked.get(url, (float("-inf"), None))
    if answer is None or (answer.done() and time.monotonic() - asked_at > REMEMBERED_S):
        answer = in_background(_ask, url)
        _asked[url] = time.monotonic(), answer
    return answer


def in_background(function: Callable[..., T], *args: Any) -> Future[T]:
    """Call a function in a thread of its own."""
    pool = ThreadPoolExecutor(1)
    future = pool.submit(function, *args)
    pool.shutdown(wait=False)
    return future


def _ask(url: str) -> bool:
    answered = threading.Event()

    def ask() -> None:
        request = urllib.request.Request(url, method="HEAD")
        try:
            urllib.request.urlopen(request, timeout=HUB_TIMEOUT_S).close()
        except urllib.error.HTTPError:
            pass  # an answer, if not a kind one
        except (OSError, ValueError):
            return
        answered.set()

    # A thread, as looking up a host's name heeds no timeout.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(HUB_TIMEOUT_S)
    return answered.is_set()
