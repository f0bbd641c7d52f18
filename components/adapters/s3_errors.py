"""What an S3 request's failure means: for the next try, and for a person."""

from typing import Any

from components.contracts.errors import EnvironmentFault

PASSING_CODES = frozenset({
    "SlowDown",
    "RequestTimeout",
    "InternalError",
    "ServiceUnavailable",
    "Throttling",
    "ThrottlingException",
    "RequestLimitExceeded",
    "TooManyRequests",
    "ConditionalRequestConflict",
    "OperationAborted",
    "IncompleteBody",
})
TOO_MANY = 429
MISSING = frozenset({"NoSuchKey", "404", "NotFound"})
REFUSED = frozenset({
    "AccessDenied",
    "403",
    "Forbidden",
    "InvalidAccessKeyId",
    "SignatureDoesNotMatch",
    "ExpiredToken",
    "InvalidToken",
})
FULL = frozenset({"XMinioStorageFull", "QuotaExceeded", "InsufficientStorage", "507"})


def code_of(error: BaseException) -> str:
    """The server's code, or an empty text where no server answered."""
    response: dict[str, Any] = getattr(error, "response", None) or {}
    return str(response.get("Error", {}).get("Code", ""))


def may_pass(error: BaseException) -> bool:
    """Whether the same request may succeed a moment later."""
    from aiohttp import ClientError as BrokenStream
    from botocore.exceptions import ConnectionError as NoConnection
    from botocore.exceptions import HTTPClientError
    from botocore.parsers import ResponseParserError

    if isinstance(error, (HTTPClientError, NoConnection, ResponseParserError, BrokenStream, TimeoutError)):
        return True
    response: dict[str, Any] = getattr(error, "response", None) or {}
    status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return code_of(error) in PASSING_CODES or status == TOO_MANY or (status >= 500 and code_of(error) not in FULL)


def is_missing(error: BaseException) -> bool:
    """Whether the object is not there."""
    return code_of(error) in MISSING


def as_fault(error: BaseException, place: str) -> EnvironmentFault:
    """The user's line for the failure of a request about `place`."""
    from botocore.exceptions import BotoCoreError, NoCredentialsError, PartialCredentialsError

    if isinstance(error, EnvironmentFault):
        return error
    code = code_of(error)
    said = " ".join(str(error).split())[:200]
    if code == "NoSuchBucket":
        return EnvironmentFault(
            "E_STORE", "there is no such bucket", place=place, action="create it, or correct MILLRACE_STORE"
        )
    if code in REFUSED or isinstance(error, (NoCredentialsError, PartialCredentialsError)):
        what = f"the object store refused the credentials ({code})" if code else "no credentials were found"
        action = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE or a role that may read and write there"
        return EnvironmentFault("E_CREDENTIALS", what, place=place, action=action)
    if code in FULL:
        return EnvironmentFault(
            "E_DISK_FULL", f"the object store is full ({code})", place=place, action="free space there"
        )
    if not code and may_pass(error):
        return EnvironmentFault(
            "E_SERVER_UNREACHABLE",
            f"the object store does not answer ({said})",
            place=place,
            action="check AWS_ENDPOINT_URL and the network, then run the same command again",
        )
    if code or isinstance(error, BotoCoreError):
        return EnvironmentFault(
            "E_IO",
            f"the object store reported an error ({said})",
            place=place,
            action="check the store, then run the same command again",
        )
    raise error
