"""A Kafka broker (librdkafka's own mock cluster: real wire, no disk) and a real Redis server for tests."""

import shutil
import socket
import socketserver
import struct
import subprocess
import tempfile
import threading
import time
from pathlib import Path

from components.sources.kafka import KafkaSource
from components.sources.redis_stream import RedisStreamSource

PASSWORD = "c4nary-Pa55word"


class Broker:
    """A mock cluster in this process; topics are made as they are written to, with four partitions each."""

    def __init__(self):
        from confluent_kafka import Producer

        self._producer = Producer({"bootstrap.servers": "", "test.mock.num.brokers": 1, "log_level": 0})
        (broker,) = self._producer.list_topics(timeout=10).brokers.values()
        self.servers = f"{broker.host}:{broker.port}"

    def send(self, topic, values, *, partitions=1, times=None, keys=None):
        for number, value in enumerate(values):
            stamp = {"timestamp": times[number]} if times else {}
            key = keys[number] if keys else None
            self._producer.produce(topic, value=value, key=key, partition=number % partitions, **stamp)
            self._producer.poll(0)
        self._producer.flush(10)

    def committed(self, topic, group, partitions=1):
        from confluent_kafka import Consumer, TopicPartition

        asking = Consumer({"bootstrap.servers": self.servers, "group.id": group, "log_level": 0})
        found = asking.committed([TopicPartition(topic, one) for one in range(partitions)], timeout=10)
        asking.close()
        return [one.offset for one in found]


class RedisServer:
    """One server in a folder of its own, in memory only; user `reader` may read and has the password PASSWORD."""

    def __init__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="millrace-redis-"))
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.start()

    def start(self):
        command = [shutil.which("redis-server"), "--port", str(self.port), "--bind", "127.0.0.1", "--dir", self.folder]
        rights = ["--save", "", "--user", "reader", "on", f">{PASSWORD}", "~*", "+@read", "+@connection", "+info"]
        log = (self.folder / "log").open("ab")
        self.process = subprocess.Popen([*map(str, command), *rights], stdout=log, stderr=log)
        log.close()
        end = time.monotonic() + 30
        while time.monotonic() < end:
            try:
                with self.connect() as client:
                    return client.ping()
            except Exception as error:
                if type(error).__name__ not in {"ConnectionError", "BusyLoadingError"}:
                    raise
                time.sleep(0.05)
        raise TimeoutError((self.folder / "log").read_text())

    def connect(self):
        import redis

        return redis.Redis(port=self.port)

    def stop(self):
        self.process.kill()
        self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


class Kafka:
    """One topic of its own, read and written."""

    def __init__(self, broker, name):
        self.broker, self.name = broker, name

    def source(self, **fields):
        return KafkaSource(**{"servers": self.broker.servers, "topic": self.name} | fields)

    def send(self, numbers, times=None):
        self.broker.send(self.name, [b'{"n": %d}' % one for one in numbers], times=times)

    def told(self):
        return self.broker.committed(self.name, "millrace")[0]


class RedisStream:
    def __init__(self, client, url, name):
        self.client, self.url, self.name = client, url, name

    def source(self, **fields):
        return RedisStreamSource(**{"url": self.url, "stream": self.name, "group": "millrace"} | fields)

    def send(self, numbers, times=None):
        for at, one in enumerate(numbers):
            self.client.xadd(self.name, {"n": one}, id=f"{times[at]}-0" if times else "*")

    def told(self):
        (group,) = self.client.xinfo_groups(self.name)
        return len(self.client.xrange(self.name, max=group["last-delivered-id"]))


class RefusingBroker:
    """What a broker says to a login that it does not know, and no more; the mock cluster has no logins.

    Of Kafka's protocol: https://kafka.apache.org/protocol (ApiVersions, SaslHandshake, SaslAuthenticate).
    """

    VERSIONS, HANDSHAKE, AUTHENTICATE = 18, 17, 36
    FAILED, UNSUPPORTED = 58, 35

    def __init__(self):
        self.asked = []
        broker = self

        class Talk(socketserver.StreamRequestHandler):
            def handle(self):
                while head := self.rfile.read(4):
                    request = self.rfile.read(int.from_bytes(head))
                    key, version, number = struct.unpack(">hhi", request[:8])
                    broker.asked.append((key, request))
                    body = struct.pack(">i", number) + broker.answer(key, version)
                    self.wfile.write(struct.pack(">i", len(body)) + body)

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Talk)
        self._server.daemon_threads = True
        self.servers = f"127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def answer(self, key, version):
        if key == self.VERSIONS:
            known = [(self.VERSIONS, 0, 0), (self.HANDSHAKE, 0, 1), (self.AUTHENTICATE, 0, 0)]
            wrong = self.UNSUPPORTED if version else 0
            return struct.pack(">hi", wrong, len(known)) + b"".join(struct.pack(">hhh", *one) for one in known)
        if key == self.HANDSHAKE:
            return struct.pack(">hi", 0, 1) + _text(b"PLAIN")
        return struct.pack(">h", self.FAILED) + _text(b"Authentication failed") + struct.pack(">i", 0)

    def stop(self):
        self._server.shutdown()
        self._server.server_close()


def _text(body):
    return struct.pack(">h", len(body)) + body
