"""A source whose partitions take time, end their process, or need memory: for tests of worker processes."""

import os
import pathlib
import time

import numpy as np

from components.sources.generated import GeneratedSource


class SlowSource(GeneratedSource):
    seconds: float = 0.2
    poison: int = -1
    megabytes: int = 0
    log: str = ""

    def read(self, partition):
        number = partition.argument[0] // self.rows_per_partition
        if self.log:
            with pathlib.Path(self.log).open("a") as file:
                file.write(f"{number}\n")
        time.sleep(self.seconds)
        if number == self.poison:
            if self.megabytes:
                held = np.ones(self.megabytes * 2**17)
                time.sleep(3)
                assert held.sum()
            else:
                os._exit(1)
        return super().read(partition)


def source(parts=8, **fields):
    return SlowSource(shape="blobs", rows=parts * 10, rows_per_partition=10, columns_count=3, **fields)
