"""What a server answers, asked without Prefect's or MLflow's clients, which are slow to import and ask again."""

import urllib.error
import urllib.request

from components.contracts.errors import EnvironmentFault

ANSWER_SECONDS = 5.0


def fetched(url: str | urllib.request.Request) -> bytes:
    """The body of a page, asked without a proxy; raises OSError or ValueError."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url, timeout=ANSWER_SECONDS) as reply:
        body: bytes = reply.read()
        return body


def says(url: str, body: bytes) -> bool:
    """Whether a page answers with `body`."""
    try:
        return fetched(url) == body
    except (urllib.error.URLError, OSError, ValueError):
        return False


def same_release(product: str, found: str, ours: str, address: str, action: str) -> None:
    """Raise E_SERVER_VERSION unless both are the same minor release."""
    if found.split(".")[:2] != ours.split(".")[:2]:
        raise EnvironmentFault(
            "E_SERVER_VERSION",
            f"the server is {product} {found[:40]}, this environment has {ours}",
            place=address,
            allowed=f"{'.'.join(ours.split('.')[:2])}.x",
            action=action,
        )
