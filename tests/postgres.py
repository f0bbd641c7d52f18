"""A real PostgreSQL server for tests, run by an ordinary user: it refuses root."""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

PASSWORD = "c4nary-Pa55word"


def program(name):
    """Where Debian puts what is not on the path."""
    found = shutil.which(name)
    return found or str(max(Path("/usr/lib/postgresql").glob(f"*/bin/{name}")))


class Postgres:
    """One server in a folder of its own; user `reader` has the password PASSWORD."""

    def __init__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="millrace-postgres-"))
        self.user = pwd.getpwnam("nobody").pw_uid if os.geteuid() == 0 else None
        if self.user is not None:
            os.chown(self.folder, self.user, -1)
        secret = self.folder / "password"
        secret.write_text(PASSWORD)
        secret.chmod(0o644)
        self.data = self.folder / "data"
        self._run("initdb", "-D", self.data, "-U", "reader", "--auth=scram-sha-256", f"--pwfile={secret}", "-E", "UTF8")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"postgresql://127.0.0.1:{self.port}/postgres"
        self.start()

    def _run(self, name, *arguments):
        options = {"user": self.user, "group": "nogroup", "extra_groups": []} if self.user is not None else {}
        command = [program(name), *map(str, arguments)]
        subprocess.run(
            command,
            check=True,
            capture_output=True,
            cwd=self.folder,
            env={"PATH": os.environ["PATH"], "HOME": str(self.folder), "LC_ALL": "C"},
            **options,
        )

    def start(self):
        options = f"-p {self.port} -k {self.folder} -c listen_addresses=127.0.0.1 -c fsync=off -c max_connections=50"
        self._run("pg_ctl", "-D", self.data, "-l", self.folder / "log", "-o", options, "-w", "start")

    def kill(self):
        """Stop at once, as a crash would."""
        self._run("pg_ctl", "-D", self.data, "-m", "immediate", "-w", "stop")

    def connect(self):
        import psycopg

        end = time.monotonic() + 30
        while True:
            try:
                return psycopg.connect(self._address(), autocommit=True)
            except psycopg.OperationalError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.1)

    def _address(self):
        return f"host=127.0.0.1 port={self.port} dbname=postgres user=reader password={PASSWORD}"

    def stop(self):
        subprocess.run(
            [program("pg_ctl"), "-D", self.data, "-m", "immediate", "stop"],
            check=False,
            capture_output=True,
            **({"user": self.user} if self.user is not None else {}),
            cwd=self.folder,
        )
        shutil.rmtree(self.folder, ignore_errors=True)
