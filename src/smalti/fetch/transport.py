"""One HTTP request with our rules: redirects counted and checked, proxies of the environment, raw bytes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urljoin, urlsplit
from urllib.request import getproxies, proxy_bypass

import urllib3
from urllib3.exceptions import HTTPError, LocationValueError, SSLError
from urllib3.response import BaseHTTPResponse

from smalti.errors import FetchError, UsageError
from smalti.fetch.disk import shown

_SCHEMES: Final = ("http", "https")
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_RETRIED: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
_MAX_ADDRESS: Final = 4096
_CONTENT_RANGE: Final = re.compile(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18})", re.ASCII)


class TransientError(Exception):
    """The network or the server failed in a way that another try may not; ``wait`` is what the server asked for."""

    def __init__(self, text: str, wait: float = 0.0) -> None:
        super().__init__(text)
        self.wait = wait


@dataclass(frozen=True, slots=True)
class Policy:
    """Patience of a download.

    Attributes:
        connect_timeout: seconds to reach a server.
        read_timeout: seconds without a byte after which a connection counts as stalled.
        min_rate: bytes per second, averaged over ``read_timeout`` seconds, below which it counts as stalled too.
        attempts: tries in a row without at least ``progress_bytes`` of progress.
        progress_bytes: progress that starts the count of attempts anew.
        backoff: seconds before the second try; doubled for each further one.
        max_wait: longest pause, also when the server asks for more.
        max_redirects: redirects followed in one try.
    """

    connect_timeout: float = 15.0
    read_timeout: float = 30.0
    min_rate: float = 64.0
    attempts: int = 5
    progress_bytes: int = 2**20
    backoff: float = 0.5
    max_wait: float = 20.0
    max_redirects: int = 5


def check_address(address: str) -> str:
    """Return ``address`` when it is a plain http or https address. Raises UsageError."""
    try:
        parts = urlsplit(address)
        fits = parts.scheme in _SCHEMES and parts.hostname and parts.port != 0
    except ValueError:
        fits = False
    if not fits or len(address) > _MAX_ADDRESS or not address.isprintable() or " " in address:
        raise UsageError(f"{shown(address)[:200]!r} is not an http or https address: give one, or a folder")
    if "@" in parts.netloc:
        raise UsageError(
            "an address with a user name or password in it is not supported: give --mirror a folder instead"
        )
    return address


def request(address: str, headers: Mapping[str, str], policy: Policy) -> BaseHTTPResponse:
    """GET ``address`` and return the response, its body unread, with status 200, 206, 404 or 416.

    The caller closes the response. Raises TransientError when another try may help, FetchError otherwise.
    """
    current = address
    for _ in range(policy.max_redirects + 1):
        response = _get(current, headers, policy)
        if response.status not in _REDIRECTS:
            return _checked(response, current)
        target = response.headers.get("Location", "")
        response.close()
        current = _redirected(current, target)
    raise FetchError(f"{shown(address)} redirects more than {policy.max_redirects} times")


def _get(address: str, headers: Mapping[str, str], policy: Policy) -> BaseHTTPResponse:
    timeout = urllib3.Timeout(connect=policy.connect_timeout, read=policy.read_timeout)
    # Identity: the digest is over the archive as it is published, not over what a server packs again.
    sent = {"User-Agent": "smalti", "Accept-Encoding": "identity", **headers}
    try:
        return _manager(address).request(
            "GET", address, headers=sent, timeout=timeout, retries=False, redirect=False, preload_content=False
        )
    except SSLError as error:
        raise FetchError(f"no trusted connection to {shown(address)}: {_cause(error)}") from error
    except LocationValueError as error:
        raise FetchError(f"{shown(address)} is not a usable address") from error
    except (HTTPError, OSError) as error:
        raise TransientError(f"no answer from {shown(address)}: {_cause(error)}") from error
    except ValueError as error:
        raise FetchError(f"{shown(address)} gave an answer that cannot be read") from error


def _manager(address: str) -> urllib3.PoolManager:
    parts = urlsplit(address)
    proxy = getproxies().get(parts.scheme)
    if proxy is None or proxy_bypass(parts.hostname or ""):
        return urllib3.PoolManager(num_pools=1)
    if "://" not in proxy:
        proxy = f"http://{proxy}"
    proxy_parts = urlsplit(proxy)
    if proxy_parts.scheme not in _SCHEMES:
        raise UsageError(
            f"a proxy of the kind {shown(proxy_parts.scheme)!r} is not supported: give an http or https proxy"
        )
    login = proxy_parts.netloc.rpartition("@")[0]
    headers = urllib3.make_headers(proxy_basic_auth=login) if login else None
    return urllib3.ProxyManager(proxy, num_pools=1, proxy_headers=headers)


def _checked(response: BaseHTTPResponse, address: str) -> BaseHTTPResponse:
    status = response.status
    if status in (200, 206, 404, 416):
        return response
    wait = response.headers.get("Retry-After", "")
    response.close()
    text = f"{shown(address)} answered with HTTP status {status}"
    if status in _RETRIED:
        raise TransientError(text, float(wait) if wait.isascii() and wait.isdigit() and len(wait) < 6 else 0.0)
    raise FetchError(text)


def _redirected(current: str, target: str) -> str:
    if not target:
        raise FetchError(f"{shown(current)} redirects to nowhere")
    try:
        new = check_address(urljoin(current, target))
    except (UsageError, ValueError) as error:
        raise FetchError(f"{shown(current)} redirects to {shown(target)[:200]!r}, which is not followed") from error
    if current.startswith("https:") and new.startswith("http:"):
        raise FetchError(f"{shown(current)} redirects from https to http, which is not followed")
    return new


def _cause(error: BaseException) -> str:
    """Return a short reason without object addresses, which the texts of urllib3 hold."""
    named = re.sub(r"(?<!^)(?=[A-Z])", " ", type(error).__name__).lower()
    inner = error.__cause__ or error.__context__
    if isinstance(inner, OSError) and inner.strerror:
        return f"{named} ({shown(inner.strerror)})"
    return named


def body_error(address: str, error: BaseException) -> TransientError:
    """Return the error of a body that broke off."""
    return TransientError(f"the connection to {shown(address)} broke off: {_cause(error)}")


def content_range(response: BaseHTTPResponse) -> tuple[int, int, int] | None:
    """Return first byte, last byte and total length of a partial answer; None when the server states none."""
    match = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", "").strip())
    return None if match is None else (int(match[1]), int(match[2]), int(match[3]))


def content_length(response: BaseHTTPResponse) -> int | None:
    """Return the stated length of the body; None when there is none or it is not a plain number."""
    text = response.headers.get("Content-Length", "").strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 18 else None
