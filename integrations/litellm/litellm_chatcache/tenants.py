"""Whose records a request to LiteLLM's proxy may share: ``CHATCACHE_SCOPE``."""

from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import Any

from chatcache import InvalidInputError

__all__ = ["TENANT", "scope_in", "tenant_of"]

_IDS = {"key": "api_key", "user": "user_id", "team": "team_id", "organization": "org_id"}
"""The scopes, and where LiteLLM says for each who is asking."""

_ALL = "shared"
_VARIABLE = "CHATCACHE_SCOPE"

TENANT: ContextVar[str | None] = ContextVar("litellm_chatcache_tenant", default=None)
"""The tenant of the request that the proxy is answering, or None if it is not known."""


def scope_in(environment: Mapping[str, str]) -> str:
    """Return the scope that an environment names; ``key`` if it names none.

    Raises:
        InvalidInputError: there is no such scope.
    """
    scope = environment.get(_VARIABLE, "").strip() or "key"
    if scope not in (*_IDS, _ALL):
        raise InvalidInputError(f"{_VARIABLE} is {scope!r:.200}; set it to one of {', '.join((*_IDS, _ALL))}")
    return scope


def tenant_of(scope: str) -> Callable[[Any], str | None]:
    """Return a function from a ``UserAPIKeyAuth`` of LiteLLM to its tenant, or to None if it names nobody.

    A key without the user, team or organization that the scope asks for is a tenant of its own.
    """

    def tenant(auth: Any) -> str | None:
        for kind in (scope, "key"):
            value = getattr(auth, _IDS[kind], None)
            if value:
                return f"{kind} {value}"
        return None

    return (lambda _auth: _ALL) if scope == _ALL else tenant
