"""Who may come in. A training API runs what it is told, so it opens to loopback, or to whoever shows the token.

Without a token it answers only on loopback addresses, only under a loopback name, and not to web pages of other sites: a page
in the operator's browser could otherwise start trainings.
"""

from functools import lru_cache
from hmac import compare_digest
from ipaddress import ip_address
from urllib.parse import urlsplit

from litestar.enums import ScopeType
from litestar.middleware import ASGIMiddleware
from litestar.types import ASGIApp, Receive, Scope, Send
from typing_extensions import override

from domain.access.principal import LOCAL, TOKEN_HOLDER, Principal
from domain.errors import Unauthorized
from infra.settings import Settings, SettingsError

FIX = "set TUNEYARD_TOKEN to a long random text (for example from `openssl rand -hex 32`) and send it as `Authorization: Bearer …`"


class Doorkeeper(ASGIMiddleware):
    """Lets a request in with its principal, or answers 401."""

    def __init__(self, token: str | None) -> None:
        self._token = token.encode() if token else None

    @override
    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        """Name the principal of this request, then go on."""
        if scope["type"] == ScopeType.HTTP:
            headers = {name: value.decode("latin-1") for name, value in scope["headers"] if name in _NEEDED}
            name = self._by_token(self._token, headers) if self._token else self._by_address(scope, headers)
            client = scope.get("client")
            scope["user"] = Principal(name=name, origin=client[0] if client else None)
        await next_app(scope, receive, send)

    @staticmethod
    def _by_token(token: bytes, headers: dict[bytes, str]) -> str:
        scheme, _, shown = headers.get(b"authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not compare_digest(shown.strip().encode("latin-1"), token):
            message = "this server wants its token: send `Authorization: Bearer <the value of TUNEYARD_TOKEN>`"
            raise Unauthorized(message)
        return TOKEN_HOLDER

    @staticmethod
    def _by_address(scope: Scope, headers: dict[bytes, str]) -> str:
        server = scope.get("server")
        if server and server[1] is not None and not is_loopback(server[0]):
            message = f"this server listens on {server[0]}, beyond loopback, and has no token; {FIX}"
            raise Unauthorized(message)
        asked, page = headers.get(b"host", "localhost"), headers.get(b"origin")
        if not is_loopback(_host_of("//" + asked)):
            message = f"without a token this server answers only as localhost, not as {asked or 'nobody'}; {FIX}"
            raise Unauthorized(message)
        if page and page != "null" and not is_loopback(_host_of(page)):
            message = f"a page of {page} may not use this server without a token; {FIX}"
            raise Unauthorized(message)
        if page == "null" or headers.get(b"sec-fetch-site") == "cross-site":
            message = f"a page of another site may not use this server without a token; {FIX}"
            raise Unauthorized(message)
        return LOCAL


_NEEDED = frozenset({b"authorization", b"host", b"origin", b"sec-fetch-site"})


def require_safe_binding(settings: Settings) -> None:
    """Refuse to start beyond loopback without a token; the message carries the fix."""
    if not is_loopback(settings.bind) and not settings.token:
        message = f"listening on {settings.bind} would let anybody on the network run commands here; {FIX}"
        raise SettingsError(message)


@lru_cache(maxsize=1024)
def is_loopback(name: str) -> bool:
    """Whether a host name or address means this very machine."""
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ip_address(name.strip("[]")).is_loopback
    except ValueError:
        return False


def _host_of(url: str) -> str:
    """Return the host that a URL names; nothing where none can be read."""
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""
