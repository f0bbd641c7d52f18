"""Clients that ask one after the other as fast as they are answered: `serving_load.py PORT PATH CLIENTS SECONDS BODY`."""

import asyncio
import json
import statistics
import sys
import time
from pathlib import Path

import uvloop

WARM = 0.5
"""Seconds that are not counted."""


class Client(asyncio.Protocol):
    """One connection that is kept; it reads no more of an answer than its length and its status."""

    def __init__(self, request, times, wrong):
        self.request, self.times, self.wrong = request, times, wrong
        self.read, self.asked = bytearray(), 0.0

    def connection_made(self, transport):
        self.transport = transport
        self.ask()

    def ask(self):
        self.asked = time.perf_counter()
        self.transport.write(self.request)

    def data_received(self, data):
        self.read += data
        end = self.read.find(b"\r\n\r\n")
        if end < 0:
            return
        head = bytes(self.read[:end]).lower()
        length = int(head.partition(b"content-length:")[2].split(b"\r\n")[0])
        if len(self.read) < end + 4 + length:
            return
        self.times.append((time.perf_counter(), time.perf_counter() - self.asked))
        if not head.startswith(b"http/1.1 200"):
            self.wrong.append(head)
        self.read.clear()
        self.ask()


async def load(port, path, clients, seconds, body):
    head = f"POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    times, wrong, loop = [], [], asyncio.get_running_loop()
    began = time.perf_counter()
    for _ in range(clients):
        await loop.create_connection(lambda: Client(head.encode() + body, times, wrong), "127.0.0.1", port)
    await asyncio.sleep(WARM + seconds)
    counted = [took for at, took in times if began + WARM <= at <= began + WARM + seconds]
    quantiles = statistics.quantiles(counted, n=100)
    return {"rate": len(counted) / seconds, "p50": quantiles[49], "p99": quantiles[98], "wrong": len(wrong)}


if __name__ == "__main__":
    port, path, clients, seconds, body = sys.argv[1:]
    found = uvloop.run(load(int(port), path, int(clients), float(seconds), Path(body).read_bytes()))
    print(json.dumps(found))
