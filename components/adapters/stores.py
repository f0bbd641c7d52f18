"""The store that a placement names: a local folder, or a bucket with copies on this machine."""

import os
from functools import lru_cache

from components.adapters.file_cache import FileCache
from components.adapters.files import Files
from components.adapters.local_files import LocalFiles
from components.adapters.store import Store
from components.contracts.placement import Placement


def open_store(placement: Placement) -> Store:
    """The store; a bucket's connections are opened once in this process.

    Raises:
        EnvironmentFault: E_SERVER_UNREACHABLE, E_CREDENTIALS, E_STORE; of an object store.
    """
    if placement.store_folder is not None:
        return Store(LocalFiles(placement.store_folder))
    # A forked child may not go on with its parent's connections.
    return Store(_open_bucket(placement, os.getpid()))


@lru_cache(maxsize=8)
def _open_bucket(placement: Placement, _process: int) -> Files:
    from components.adapters.s3_files import S3Files

    cache = FileCache(placement.home / "cache", int(placement.cache_gb * 1e9))
    files = S3Files(placement.store, cache)
    files.check()
    return files
