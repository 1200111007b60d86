"""Digest authentication of a trunk by 407 (RFC 2617, RFC 3261 22.3), server side. Pure but for the nonce source."""

import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import md5
from hmac import compare_digest
from typing import Final

MAX_NONCES: Final = 10_000
"""Nonces remembered; the oldest are forgotten first, and a request that uses one is challenged again (stale)."""

_PAIR: Final = re.compile(r'([A-Za-z0-9_-]+)\s*=\s*(?:"((?:\\.|[^"\\])*)"|([^\s,"]+))')


def parse_authorization(value: str) -> dict[str, str]:
    """``Digest a="b", c=d`` to a dictionary with lower-case names; empty when it is not Digest."""
    scheme, _, rest = value.strip().partition(" ")
    if scheme.lower() != "digest":
        return {}
    return {m.group(1).lower(): m.group(2) if m.group(2) is not None else m.group(3) for m in _PAIR.finditer(rest)}


def digest_response(username: str, password: str, method: str, fields: dict[str, str]) -> str:
    """The ``response`` a client with this password computes for these fields (realm, nonce, uri, qop, nc, cnonce)."""

    def h(text: str) -> str:
        return md5(text.encode(), usedforsecurity=False).hexdigest()

    ha1 = h(f"{username}:{fields.get('realm', '')}:{password}")
    ha2 = h(f"{method}:{fields.get('uri', '')}")
    nonce = fields.get("nonce", "")
    if fields.get("qop"):
        return h(f"{ha1}:{nonce}:{fields.get('nc', '')}:{fields.get('cnonce', '')}:{fields['qop']}:{ha2}")
    return h(f"{ha1}:{nonce}:{ha2}")


@dataclass(slots=True)
class DigestGuard:
    """Challenges INVITEs and checks the answers. One user, as a trunk has."""

    username: str
    password: str = field(repr=False)
    realm: str = "simworld"
    new_nonce: Callable[[], str] = field(default=lambda: secrets.token_hex(16), repr=False)
    _nonces: dict[str, None] = field(default_factory=dict, repr=False)

    def accepts(self, method: str, authorization: str) -> bool:
        """Is this Proxy-Authorization value right? False also for none and for an unknown nonce."""
        fields = parse_authorization(authorization)
        if fields.get("nonce") not in self._nonces or fields.get("username") != self.username:
            return False
        if fields.get("realm") != self.realm or fields.get("algorithm", "MD5").upper() != "MD5":
            return False
        expected = digest_response(self.username, self.password, method, fields)
        return compare_digest(expected.encode(), fields.get("response", "").lower().encode())

    def challenge(self, authorization: str) -> str:
        """Value of a fresh Proxy-Authenticate header; stale when only the nonce was wrong."""
        nonce = self.new_nonce()
        self._nonces[nonce] = None
        if len(self._nonces) > MAX_NONCES:
            del self._nonces[next(iter(self._nonces))]
        stale = bool(authorization) and parse_authorization(authorization).get("nonce") not in self._nonces
        value = f'Digest realm="{self.realm}", nonce="{nonce}", algorithm=MD5, qop="auth"'
        return value + (", stale=true" if stale else "")
