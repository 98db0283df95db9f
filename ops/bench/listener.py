"""Which processes of this machine listen where the brokers are: from /proc, whoever began them."""

import socket
import struct
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from urllib.parse import urlsplit

_PROC = Path("/proc")
_LISTENS = "0A"
_KAFKA_PORT = 9092
# They hand on what comes to a broker elsewhere, mostly in a container: their CPU time isn't its.
_FORWARDERS = {"docker-proxy", "rootlessport", "rootlesskit", "ssh"}

Address = IPv4Address | IPv6Address


def find_listeners(servers: str) -> set[int]:
    """The process ids of those of `servers`, as in `bootstrap.servers`, that run on this machine.

    None of another machine or of a container's network, nor one whose open files we may not see,
    as another user's.
    """
    places = {place for server in servers.split(",") for place in _local_places(server)}
    wanted = {f"socket:[{inode}]" for inode in _inodes(places)}
    return {pid for pid, name in _open_files() if name in wanted and not _forwards(pid)}


def _local_places(server: str) -> Iterator[tuple[Address, int]]:
    """A server's addresses that are this machine's, with its port."""
    try:
        parts = urlsplit(f"//{server.strip().rpartition('://')[2]}")
        host, port = parts.hostname or "", parts.port or _KAFKA_PORT
        found = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)
    except (OSError, ValueError):  # librdkafka complains of it
        return
    for family, _, _, _, place in found:
        if _is_ours(family, str(place[0])):
            yield _plain(ip_address(str(place[0]))), port


def _is_ours(family: int, host: str) -> bool:
    """Whether an address is one of this machine's: no other can be bound to."""
    with socket.socket(family, socket.SOCK_DGRAM) as tried:
        try:
            tried.bind((host, 0))
        except OSError:
            return False
    return True


def _inodes(places: set[tuple[Address, int]]) -> Iterator[str]:
    """The sockets that listen at these places, or at their ports of every address; proc(5)."""
    for name in ("tcp", "tcp6"):
        try:
            lines = (_PROC / "net" / name).read_text(encoding="ascii").splitlines()[1:]
        except OSError:
            continue
        for fields in map(str.split, lines):
            host, _, port = fields[1].partition(":")
            listens_at = _address(host)
            if fields[3] == _LISTENS and any(
                int(port, 16) == wanted_port and (listens_at == wanted or listens_at.is_unspecified)
                for wanted, wanted_port in places
            ):
                yield fields[9]


def _address(digits: str) -> Address:
    """An address as /proc/net has it: words of 32 bits in hexadecimal, of this machine's order."""
    words = [int(digits[at : at + 8], 16) for at in range(0, len(digits), 8)]
    return _plain(ip_address(struct.pack(f"={len(words)}I", *words)))


def _plain(address: Address) -> Address:
    """An IPv4 address that is written as an IPv6 one, as Java does, is the IPv4 one."""
    return getattr(address, "ipv4_mapped", None) or address


def _open_files() -> Iterator[tuple[int, str]]:
    """Every process's open files, of those that we may see."""
    for process in _PROC.iterdir():
        if not process.name.isdigit():
            continue
        try:
            for file in (process / "fd").iterdir():
                yield int(process.name), str(file.readlink())
        except OSError:  # another user's, or gone meanwhile
            continue


def _forwards(pid: int) -> bool:
    try:
        return (_PROC / str(pid) / "comm").read_text().strip() in _FORWARDERS
    except OSError:
        return False
