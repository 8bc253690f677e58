"""The HTTP statuses of the cache's errors.

By them LiteLLM's Router, and clients of its proxy, know not to try again what would end the same. What has none the
Router tries again for some seconds, and the proxy calls an error of its own.
"""

from chatcache import InvalidInputError, ReplayMiss

__all__ = ["STATUSES"]

_BAD_REQUEST = 400
_FAILED_DEPENDENCY = 424  # no provider's, and none that LiteLLM rests a deployment for, as it does for 404


class _Statuses:
    """Gives an error of the cache that is raised within a ``with`` its status, if it has one."""

    __slots__ = ()

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        if isinstance(error, ReplayMiss | InvalidInputError):
            vars(error)["status_code"] = _FAILED_DEPENDENCY if isinstance(error, ReplayMiss) else _BAD_REQUEST


STATUSES = _Statuses()
