"""A song by its address on the web, within limits.

Whoever may name an address makes this server connect to it, so only hosts on the public internet are allowed. Names are
resolved here and the connection goes to the address that was checked, also after a redirect; proxies are not used.
"""

import ipaddress
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote

import httpx

from ..errors import MajlError
from .limits import Limits

MAX_REDIRECTS = 5
TIMEOUT_S = 15.0  # without an answer, or between two parts of it
UPLOAD_INSTEAD = "Upload the file to this server instead, and give the address of the upload."
# Networks that lead to others, so that an address in them says nothing about where it leads: NAT64, Teredo, 6to4; and
# the address at which Azure's machines find their own host.
_LEADING_ELSEWHERE = tuple(
    ipaddress.ip_network(network)
    for network in ("64:ff9b::/96", "64:ff9b:1::/48", "2001::/32", "2002::/16", "168.63.129.16/32")
)


def fetch(address: str, folder: Path, limits: Limits) -> Iterator[int]:
    """Fetch a file into `folder`; yields the number of bytes so far, returns the file's path.

    Args:
        address: http or https.
        limits: Size, and time as for uploads.

    Raises:
        MajlError: not such an address, not on the public internet, an answer other than a file, too large or too slow.
    """
    deadline_s = time.monotonic() + limits.max_upload_s
    url = _parsed(address)
    try:
        with httpx.Client(trust_env=False, timeout=TIMEOUT_S) as client:
            for _ in range(1 + MAX_REDIRECTS):
                with _answer(client, url) as answer:
                    if answer.has_redirect_location:
                        url = _parsed(str(url.join(answer.headers["location"])))
                        continue
                    path = folder / _file_name(url)
                    yield from _write(answer, url, path, limits, deadline_s)
                    return path
    except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
        raise MajlError(f"“{url.host}” cannot be reached: {error or type(error).__name__}. {UPLOAD_INSTEAD}") from error
    raise MajlError(f"“{url.host}” redirects more than {MAX_REDIRECTS} times. {UPLOAD_INSTEAD}")


def public_addresses(host: str, port: int) -> list[str]:
    """IP addresses of a host on the public internet.

    Raises:
        MajlError: one of its addresses is not public, or it has none.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise MajlError(f"There is no host “{host}”. {UPLOAD_INSTEAD}") from error
    addresses = list(dict.fromkeys(entry[4][0] for entry in found))
    if not addresses or not all(map(is_public, addresses)):
        raise MajlError(f"“{host}” is not on the public internet; this server does not connect to it. {UPLOAD_INSTEAD}")
    return addresses


def is_public(address: str) -> bool:
    """Whether an IP address belongs to a host on the public internet."""
    parsed = ipaddress.ip_address(address.split("%")[0])
    parsed = getattr(parsed, "ipv4_mapped", None) or parsed
    leads_elsewhere = any(parsed in network for network in _LEADING_ELSEWHERE if network.version == parsed.version)
    return parsed.is_global and not (parsed.is_multicast or parsed.is_reserved or leads_elsewhere)


def _parsed(address: str) -> httpx.URL:
    try:
        url = httpx.URL(address.strip())
    except (httpx.InvalidURL, TypeError):
        url = httpx.URL()
    if url.scheme not in ("http", "https") or not url.host:
        shown = address if len(address) <= 80 else address[:77] + "..."
        raise MajlError(f"{shown!r} is not the address of a file; it has to begin with https:// or http://.")
    return url


@contextmanager
def _answer(client: httpx.Client, url: httpx.URL) -> Iterator[httpx.Response]:
    """The answer to a request, sent to the first of the host's addresses that can be reached."""
    addresses = public_addresses(url.host, url.port or {"http": 80, "https": 443}[url.scheme])
    for number, address in enumerate(addresses, start=1):
        request = client.build_request(
            "GET",
            url.copy_with(host=address),
            headers={"Host": url.netloc.decode("ascii"), "Accept-Encoding": "identity", "User-Agent": "majl_hf"},
            extensions={"sni_hostname": url.host},
        )
        try:
            answer = client.send(request, stream=True)
            break
        except httpx.ConnectError:
            if number == len(addresses):
                raise
    try:
        yield answer
    finally:
        answer.close()


def _write(answer: httpx.Response, url: httpx.URL, path: Path, limits: Limits, deadline_s: float) -> Iterator[int]:
    if answer.status_code != 200:
        raise MajlError(f"“{url.host}” answered {answer.status_code} {answer.reason_phrase}; a file is needed.")
    too_large = f"“{path.name}” is larger than {limits.max_megabytes:g} MB. Give a smaller file, such as mp3 or m4a."
    announced = answer.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > limits.max_bytes:
        raise MajlError(too_large)
    num_bytes = 0
    with path.open("wb") as file:
        for part in answer.iter_raw():
            num_bytes += len(part)
            if num_bytes > limits.max_bytes:
                raise MajlError(too_large)
            if time.monotonic() > deadline_s:
                raise MajlError(
                    f"Fetching “{path.name}” took longer than {limits.max_upload_s:.0f} s. {UPLOAD_INSTEAD}"
                )
            file.write(part)
            yield num_bytes


def _file_name(url: httpx.URL) -> str:
    name = unquote(url.path.rsplit("/", 1)[-1])
    name = "".join(letter for letter in name if letter.isprintable() and letter not in '/\\:*?"<>|').strip(". ")
    return name[-100:] or "song"
