"""Redis by redis-py: a client, and its errors as one line without secrets."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from components.adapters.secrets import secret
from components.contracts.errors import DataError, EnvironmentFault

PLACE = "source.url"
SECONDS = 10.0


@contextmanager
def client(url: str, user: str, password: str) -> Iterator[Any]:
    """A client that gives bytes; a lost connection is made again three times.

    Raises:
        EnvironmentFault: E_EXTRA_MISSING, E_SOURCE_CONNECT, E_CREDENTIALS.
        DataError: E_TYPE, a key holds something of another kind than is asked for.
    """
    try:
        import redis
        from redis.backoff import ExponentialBackoff
        from redis.exceptions import AuthenticationError, NoPermissionError, RedisError, ResponseError
        from redis.exceptions import ConnectionError as Lost
        from redis.exceptions import TimeoutError as Slow
        from redis.retry import Retry
    except ImportError as error:
        action = "install it: pip install -e '.[nosql]'"
        raise EnvironmentFault("E_EXTRA_MISSING", "redis is not installed", place=PLACE, action=action) from error
    login = {"username": user or None, "password": secret(password, "source.password")} if password else {}
    made = redis.Redis.from_url(
        url,
        socket_timeout=SECONDS,
        socket_connect_timeout=SECONDS,
        retry=Retry(ExponentialBackoff(cap=1, base=0.05), 3),
        retry_on_error=[Lost, Slow],
        **login,
    )
    try:
        yield made
    except (AuthenticationError, NoPermissionError) as error:
        raise _refused(url, error) from None
    except ResponseError as error:
        if str(error).startswith(("NOAUTH", "WRONGPASS", "NOPERM")):
            raise _refused(url, error) from None
        raise DataError(
            "E_TYPE",
            f"the server refuses what is asked of this key ({error})"[:200],
            place="source",
            value=url,
            action="correct source.pattern, source.stream or source.type",
        ) from None
    except RedisError as error:
        raise EnvironmentFault(
            "E_SOURCE_CONNECT",
            f"the server does not answer ({type(error).__name__})",
            place=PLACE,
            value=url,
            action="start it or correct the address, then run the same command again",
        ) from None
    finally:
        made.close()


def _refused(url: str, error: Exception) -> EnvironmentFault:
    return EnvironmentFault(
        "E_CREDENTIALS",
        f"the server refuses these credentials ({str(error).split(' ', 1)[0]})",
        place=PLACE,
        value=url,
        action="correct source.user and source.password (secret://name), or what the user may read",
    )
