"""What a name, an address and an allowlist entry are: one canonical spelling each, everything else refused.

An empty list matches nothing; an address that no table calls public is not public.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

MAX_NAME = 253
FLAGS = frozenset({"http", "raw", "ech"})
TLS_PORT = 443

_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_PORT = re.compile(r"[1-9][0-9]{0,4}")


class EgressError(ValueError):
    """A name, port, address or entry that is refused; the text says which rule it breaks."""


class AddressClass(Enum):
    """Where an address points; only PUBLIC may be dialled without the blueprint naming the address."""

    PUBLIC = "public"
    PRIVATE = "private"
    LOOPBACK = "loopback"
    LINK_LOCAL = "link-local"
    CGNAT = "cgnat"
    METADATA = "metadata"
    MULTICAST = "multicast"
    RESERVED = "reserved"
    TRANSLATED = "translated"
    MALFORMED = "malformed"


# The explicit lists stay: ipaddress.is_global changes with the Python version.
_V4: tuple[tuple[str, AddressClass], ...] = (
    ("169.254.169.254/32", AddressClass.METADATA),
    ("169.254.170.0/24", AddressClass.METADATA),
    ("100.100.100.200/32", AddressClass.METADATA),
    ("168.63.129.16/32", AddressClass.METADATA),
    ("192.0.0.192/32", AddressClass.METADATA),
    ("0.0.0.0/8", AddressClass.RESERVED),
    ("10.0.0.0/8", AddressClass.PRIVATE),
    ("100.64.0.0/10", AddressClass.CGNAT),
    ("127.0.0.0/8", AddressClass.LOOPBACK),
    ("169.254.0.0/16", AddressClass.LINK_LOCAL),
    ("172.16.0.0/12", AddressClass.PRIVATE),
    ("192.0.0.0/24", AddressClass.RESERVED),
    ("192.0.2.0/24", AddressClass.RESERVED),
    ("192.31.196.0/24", AddressClass.RESERVED),
    ("192.52.193.0/24", AddressClass.RESERVED),
    ("192.88.99.0/24", AddressClass.TRANSLATED),
    ("192.168.0.0/16", AddressClass.PRIVATE),
    ("192.175.48.0/24", AddressClass.RESERVED),
    ("198.18.0.0/15", AddressClass.RESERVED),
    ("198.51.100.0/24", AddressClass.RESERVED),
    ("203.0.113.0/24", AddressClass.RESERVED),
    ("224.0.0.0/4", AddressClass.MULTICAST),
    ("240.0.0.0/4", AddressClass.RESERVED),
)
_V6: tuple[tuple[str, AddressClass], ...] = (
    ("fd00:ec2::/32", AddressClass.METADATA),
    ("::1/128", AddressClass.LOOPBACK),
    ("::ffff:0:0/96", AddressClass.TRANSLATED),
    ("64:ff9b::/96", AddressClass.TRANSLATED),
    ("64:ff9b:1::/48", AddressClass.TRANSLATED),
    ("::/8", AddressClass.RESERVED),
    ("100::/8", AddressClass.RESERVED),
    ("2001::/32", AddressClass.TRANSLATED),
    ("2001::/23", AddressClass.RESERVED),
    ("2001:db8::/32", AddressClass.RESERVED),
    ("2002::/16", AddressClass.TRANSLATED),
    ("3fff::/20", AddressClass.RESERVED),
    ("5f00::/16", AddressClass.RESERVED),
    ("fc00::/7", AddressClass.PRIVATE),
    ("fe80::/10", AddressClass.LINK_LOCAL),
    ("fec0::/10", AddressClass.PRIVATE),
    ("ff00::/8", AddressClass.MULTICAST),
)
_V4_NETWORKS = tuple((IPv4Network(text), kind) for text, kind in _V4)
_V6_NETWORKS = tuple((IPv6Network(text), kind) for text, kind in _V6)
_GLOBAL_UNICAST = IPv6Network("2000::/3")


def canonical_host(text: str) -> str:
    """The one spelling of a host name: lower-case LDH labels, no trailing dot. Raises EgressError for anything else.

    The top label starts with a letter, so no spelling of an address (127.1, 0x7f.1, 2130706433) is a name.
    """
    if not text or len(text) > MAX_NAME + 1:
        raise EgressError("a host name has 1 to 253 characters")
    if not text.isascii():
        raise EgressError("a host name is ASCII; write an international name in its xn-- form")
    name = text.lower().removesuffix(".")
    if len(name) > MAX_NAME:
        raise EgressError("a host name has 1 to 253 characters")
    labels = name.split(".")
    for label in labels:
        if _LABEL.fullmatch(label) is None:
            raise EgressError("a host name is made of labels of letters, digits and inner hyphens, 1 to 63 long")
        if label[2:4] == "--" and not label.startswith("xn--"):
            raise EgressError("a label with hyphens in its third and fourth place must be an xn-- label")
    if not labels[-1][0].isalpha():
        raise EgressError("the last label starts with a letter; addresses are not names")
    return name


def canonical_port(text: str) -> int:
    """A decimal port from 1 to 65535 without sign, blank or leading zero."""
    if _PORT.fullmatch(text) is None or int(text) > 65535:
        raise EgressError("a port is a number from 1 to 65535")
    return int(text)


def parse_authority(text: str, default_port: int | None = None) -> tuple[str, int]:
    """`host:port` as (canonical host, port); without a default the port must be written. One colon at most."""
    host, colon, port = text.partition(":")
    if not colon:
        if default_port is None:
            raise EgressError("write the target as host:port")
        return canonical_host(host), default_port
    return canonical_host(host), canonical_port(port)


def canonical_address(text: str) -> str:
    """The one spelling of a literal address; zones and surrounding brackets are refused."""
    if "%" in text or not text.isascii():
        raise EgressError("an address has no zone")
    try:
        return ip_address(text).compressed
    except ValueError:
        raise EgressError("not a literal IPv4 or IPv6 address") from None


def classify_address(text: str) -> AddressClass:
    """The class of a literal address; what cannot be read is MALFORMED, never PUBLIC."""
    try:
        address = ip_address(canonical_address(text))
    except ValueError:
        return AddressClass.MALFORMED
    return _class_v4(address) if isinstance(address, IPv4Address) else _class_v6(address)


def _class_v4(address: IPv4Address) -> AddressClass:
    for network, kind in _V4_NETWORKS:
        if address in network:
            return kind
    return AddressClass.PUBLIC


def _class_v6(address: IPv6Address) -> AddressClass:
    for network, kind in _V6_NETWORKS:
        if address in network:
            return kind
    return AddressClass.PUBLIC if address in _GLOBAL_UNICAST else AddressClass.RESERVED


def refused_address(addresses: Iterable[str]) -> tuple[str, AddressClass] | None:
    """The first address that is not public, or None when all of them are: one bad answer of several refuses all."""
    for address in addresses:
        kind = classify_address(address)
        if kind is not AddressClass.PUBLIC:
            return address, kind
    return None


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of an allowlist: a host or `*.suffix` (never the apex), one port, flags, and pinned addresses if any."""

    host: str
    port: int = TLS_PORT
    flags: frozenset[str] = field(default_factory=frozenset)
    addresses: tuple[str, ...] = ()

    def matches(self, host: str, port: int) -> bool:
        """Whether this entry names a canonical host and port."""
        if port != self.port:
            return False
        if self.host.startswith("*."):
            return host.endswith(self.host[1:]) and len(host) > len(self.host) - 1
        return host == self.host

    def __str__(self) -> str:
        words = [f"{self.host}:{self.port}", *sorted(self.flags), *(f"@{address}" for address in self.addresses)]
        return " ".join(words)


def make_entry(host: str, port: int = TLS_PORT, flags: Iterable[str] = (), addresses: Iterable[str] = ()) -> Entry:
    """A checked entry. A suffix entry has at least two labels under its star, so `*.com` is refused."""
    star = host.startswith("*.")
    name = canonical_host(host[2:] if star else host)
    if star and "." not in name:
        raise EgressError(f"*.{name} is too wide: a suffix has at least two labels")
    if isinstance(port, bool) or not 1 <= port <= 65535:
        raise EgressError("a port is a number from 1 to 65535")
    chosen = frozenset(flags)
    if chosen - FLAGS:
        raise EgressError(f"unknown flag {sorted(chosen - FLAGS)[0]!r}: use http, raw or ech")
    pinned = tuple(canonical_address(address) for address in addresses)
    return Entry(f"*.{name}" if star else name, port, chosen, pinned)


def parse_entry(text: str) -> Entry:
    """`host[:port] [http] [raw] [ech] [@address ...]`, for example `*.pypi.org` or `site.test:8080 http @127.0.0.1`."""
    words = text.split()
    if not words:
        raise EgressError("an empty entry names no host")
    head, _, port = words[0].partition(":")
    flags = [word for word in words[1:] if not word.startswith("@")]
    addresses = [word[1:] for word in words[1:] if word.startswith("@")]
    number = canonical_port(port) if ":" in words[0] else TLS_PORT
    return make_entry(head, number, flags, addresses)


def find_entry(entries: Iterable[Entry], host: str, port: int, form: str = "connect") -> Entry | None:
    """The first entry that lets `form` ("connect" or "http") reach a canonical host and port; None means deny."""
    if form not in ("connect", "http"):
        return None
    for entry in entries:
        if entry.matches(host, port) and (form == "connect" or "http" in entry.flags):
            return entry
    return None


def allowing_entry(host: str, port: int, form: str = "connect") -> str:
    """The entry that would let a refused target pass, as a person would write it."""
    return str(Entry(host, port, frozenset({"http"}) if form == "http" else frozenset()))
