"""Which hosts, addresses and files a run may reach.

Covered: only hosts that the user named; every address that a name resolves to is checked at the moment of the
connection, so that neither a redirect nor a changed DNS entry leads into a private network; files only below the
folder of the page to begin with. Not covered: what an allowed host does with what it is sent.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias
from urllib.parse import unquote, urlsplit

from lumos_edge.errors import HostNotAllowed, PageNotLoaded

_Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address

PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True)
class Policy:
    """The hosts that the user named, each with the ports that are allowed, or None for all; and a folder of files.

    A name that resolves to a private address needs that address (or `localhost`, for this machine) to be named, too.
    """

    hosts: Mapping[str, frozenset[int] | None]
    folder: Path | None = None

    @classmethod
    def of(cls, page: str, allowed: Iterable[str] = (), folder: Path | None = None) -> Policy:
        """The policy for a page's URL ("" for a file), which allows its host and port, and hosts: `host`, `host:port`.

        Raises ValueError for what is no host.
        """
        named: list[tuple[str, int | None]] = [host_and_port(page)] if page else []
        named += map(_read_host, allowed)
        hosts: dict[str, frozenset[int] | None] = {}
        for host, port in named:
            ports = hosts.get(host, frozenset())
            hosts[host] = None if port is None or ports is None else ports | {port}
        return cls(hosts, folder)

    def check_url(self, url: str) -> None:
        """Raise HostNotAllowed for a URL that may not be opened; its addresses are checked by `addresses`."""
        scheme = urlsplit(url).scheme.lower()
        if scheme == "file":
            self._check_file(url)
            return
        if scheme not in PORTS:
            raise HostNotAllowed(f"expected an http or https address, found {url[:80]!r}")
        self.check_host(*host_and_port(url))

    def check_host(self, host: str, port: int) -> None:
        """Raise HostNotAllowed unless the user named the host, with this port or with none."""
        if host not in self.hosts:
            raise HostNotAllowed(f"the host {host} is not allowed; allowed: {self._listed()}")
        ports = self.hosts[host]
        if ports is not None and port not in ports:
            raise HostNotAllowed(f"port {port} of {host} is not allowed; allowed: {self._listed()}")

    def _listed(self) -> str:
        entries = [
            entry
            for host, ports in self.hosts.items()
            for entry in ([host] if ports is None else [f"{host}:{port}" for port in sorted(ports)])
        ]
        return ", ".join(entries) or "none"

    def _check_file(self, url: str) -> None:
        path = file_of(url)
        if self.folder is None or not path.is_relative_to(self.folder.resolve()):
            raise HostNotAllowed(f"the file {path} is not in the folder of the page to begin with")

    def addresses(self, host: str, port: int) -> list[str]:
        """The addresses of a host to connect to, each checked. Raises HostNotAllowed, PageNotLoaded."""
        self.check_host(host, port)
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise PageNotLoaded(f"the host {host} has no address: {error}") from error
        addresses = list(dict.fromkeys(str(entry[4][0]).partition("%")[0] for entry in found))
        for address in addresses:
            self._check_address(host, ipaddress.ip_address(address))
        return addresses

    def _check_address(self, host: str, address: _Address) -> None:
        mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
        real = mapped or address
        # `is_global` is false for private, loopback, link-local, shared, reserved and unspecified addresses.
        if (real.is_global and not real.is_multicast) or str(real) in self.hosts:
            return
        if real.is_loopback and "localhost" in self.hosts:
            return
        raise HostNotAllowed(f"{host} is the private address {real}, which is not allowed by name")


def host_and_port(url: str) -> tuple[str, int]:
    """The host, lower case, and the port of a URL; raises HostNotAllowed for one without."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port or PORTS[parts.scheme.lower()]
    except (ValueError, KeyError) as error:
        raise HostNotAllowed(f"expected an http or https address, found {url[:80]!r}") from error
    if not host:
        raise HostNotAllowed(f"expected an address with a host, found {url[:80]!r}")
    return host.rstrip("."), port


def file_of(url: str) -> Path:
    """The file of a file URL, links resolved; raises HostNotAllowed for one on another machine."""
    parts = urlsplit(url)
    if parts.netloc not in ("", "localhost"):
        raise HostNotAllowed(f"the file of another machine, {parts.netloc}, is not opened")
    from urllib.request import url2pathname

    return Path(url2pathname(parts.path)).resolve()


def _read_host(entry: str) -> tuple[str, int | None]:
    text = unquote(entry.strip().lower())
    try:
        # An IPv6 address without brackets has colons of its own.
        parts = urlsplit(f"//[{text}]" if text.count(":") > 1 and not text.startswith("[") else f"//{text}")
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise ValueError(f"{entry!r} is no host; expected HOST or HOST:PORT") from error
    if not host or parts.path or parts.query or "@" in text:
        raise ValueError(f"{entry!r} is no host; expected HOST or HOST:PORT")
    return host.rstrip("."), port
