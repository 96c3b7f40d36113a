"""`HOST:PORT`, as a command line gives it."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from diffuse_uda.errors import ConfigError


@dataclass(frozen=True, kw_only=True, slots=True)
class Address:
    """Where somebody listens."""

    host: str
    """Name, IPv4 or IPv6 address, without brackets."""
    port: int

    def __str__(self) -> str:
        """As it is written on a command line."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(text: str) -> Address:
    """Read `hub.example.org:8443` or `[::1]:8443`.

    Raises:
        ConfigError: If there is no host, no port, or more than these.
    """
    try:
        parts = urlsplit(f"//{text}")
        if parts.hostname and parts.port and parts.netloc == text and parts.username is None:
            return Address(host=parts.hostname, port=parts.port)
    except ValueError:
        pass
    msg = f"found the address {text!r}; wanted HOST:PORT, such as hub.example.org:8443 or [::1]:8443"
    raise ConfigError(msg)
