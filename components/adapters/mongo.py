"""MongoDB by pymongo: a collection to read from, and its errors without secrets."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from components.contracts.errors import DataError, EnvironmentFault, MillraceError, masked

PLACE = "source.url"
SECONDS = 10
GONE = frozenset({"AutoReconnect", "CursorNotFound", "ConnectionFailure", "NetworkTimeout", "NotPrimaryError"})
"""What a client raises when a connection or a cursor is lost: what was read stays right, the rest is asked again."""


@contextmanager
def collection(url: str, user: str, password: str, *, database: str, name: str) -> Iterator[Any]:
    """The collection, read from the primary with majority read concern where there is a replica set."""
    try:
        import pymongo
    except ImportError as error:
        action = "install it: pip install -e '.[nosql]'"
        raise EnvironmentFault("E_EXTRA_MISSING", "pymongo is not installed", place=PLACE, action=action) from error
    login = {"username": user, "password": password} if user else {}
    with faults(url):
        client: Any = pymongo.MongoClient(url, serverSelectionTimeoutMS=SECONDS * 1000, tz_aware=True, **login)
        try:
            yield client[database][name]
        finally:
            client.close()


@contextmanager
def faults(url: str) -> Iterator[None]:
    """What the server or its client raises, as one line."""
    from bson.errors import BSONError
    from pymongo.errors import ConfigurationError, InvalidURI, OperationFailure, PyMongoError

    try:
        yield
    except MillraceError:
        raise
    except (InvalidURI, ConfigurationError) as error:
        what = f"this is no address of MongoDB ({error})"[:160]
        raise DataError(
            "E_SOURCE_CONNECT", what, place=PLACE, value=masked(url), action="write mongodb://host:27017"
        ) from None
    except OperationFailure as error:
        if error.code in {13, 18}:
            action = "correct source.user and source.password (secret://name)"
            what = "the database refuses these credentials"
            raise EnvironmentFault("E_CREDENTIALS", what, place=PLACE, value=masked(url), action=action) from None
        what = f"the database refuses the query ({error.details and error.details.get('errmsg')})"[:200]
        raise DataError(
            "E_SQL_OBJECT", what, place="source", value=masked(url), action="correct source.filter"
        ) from None
    except BSONError as error:
        what = f"the filter holds what MongoDB has no type for ({error})"[:160]
        raise DataError(
            "E_CONFIG", what, place="source.filter", action="write numbers, texts, truths and lists"
        ) from None
    except PyMongoError as error:
        what = f"the database does not answer ({type(error).__name__})"
        action = "start it or correct the address, then run the same command again"
        raise EnvironmentFault("E_SOURCE_CONNECT", what, place=PLACE, value=masked(url), action=action) from None
