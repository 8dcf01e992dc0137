"""A docker engine of the tests' own, and a container in it that has this machine's programs: real, and nothing is pulled."""

import os
import shutil
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil
import pytest

PATIENCE = 20.0
"""Seconds for the engine to answer, on a busy machine too; idle it takes half of one."""
IMAGE = "nothing"
FOLDERS = ("proc", "sys", "dev", "tmp", "etc", "sbin", "usr")
LINKS = {"bin": "usr/bin", "lib": "usr/lib", "lib64": "usr/lib64"}
PYTHON = f"{sys.base_prefix}/bin/python3"
PATH = f"{sys.base_prefix}/bin:/usr/bin:/usr/sbin"
PROGRAMS = [f"{path}:{path}:ro" for path in sorted({"/usr", sys.base_prefix} if not sys.base_prefix.startswith("/usr/") else {"/usr"})]
"""Mounts that give a container this machine's programs."""


class PrivateEngine:
    """An engine in a network namespace of its own, so that it disturbs no other; `address` is what DOCKER_HOST would say."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.address = f"unix://{folder}/d.sock"
        # Beside the engine, as packages install it: an engine that starts again finds its containers at once.
        self._containerd = self._run("containerd", f"--address={folder}/c.sock", f"--root={folder}/c", f"--state={folder}/cs")
        self._process = self._containerd

    def start(self) -> None:
        """Start it, again perhaps, and wait until it answers; RuntimeError with its last words when it does not."""
        root = self._folder
        (root / "pid").unlink(missing_ok=True)
        folders = [f"--data-root={root}/data", f"--exec-root={root}/exec", f"--pidfile={root}/pid", f"--containerd={root}/c.sock"]
        quiet = ["--bridge=none", "--iptables=false", "--ip6tables=false", "--live-restore", "--log-level=warn"]
        self._process = self._run("unshare", "--net", "dockerd", *folders, f"--host={self.address}", *quiet)
        give_up = time.monotonic() + PATIENCE
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > give_up:
                raise RuntimeError((root / "log").read_text()[-500:])
            time.sleep(0.05)

    def kill(self) -> None:
        """End it as a power cut would; its containers live on."""
        self._process.kill()
        self._process.wait()

    @contextmanager
    def dead(self) -> Iterator[None]:
        """A time in which it is dead."""
        self.kill()
        try:
            yield
        finally:
            self.start()

    def stop(self) -> None:
        """End it and everything that it runs, asking nobody: after a kill in the middle of an exec it may take half a minute to answer."""
        socket = f"{self._folder}/c.sock"
        ours = [each for each in psutil.process_iter(["cmdline"]) if any(socket in word for word in each.info["cmdline"] or ())]
        for process in [*ours, *(child for each in ours for child in each.children(recursive=True))]:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        for part in (self._process, self._containerd):
            part.wait(PATIENCE)
        mounted = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
        for path in reversed([path for path in mounted if path.startswith(f"{self._folder}/")]):
            subprocess.run(["umount", "--lazy", path], check=True)

    def docker(self, *words: str, stdin: bytes | None = None) -> str:
        """What `docker WORDS` says."""
        done = subprocess.run(["docker", "-H", self.address, *words], input=stdin, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode().strip()

    def container(self, name: str, *options: str, mounts: tuple[str, ...] = ()) -> str:
        """Start a container that has this machine's programs and these mounts, and does nothing; its name."""
        volumes = [word for each in (*PROGRAMS, *mounts) for word in ("-v", each)]
        self.docker("run", "-d", "--init", "--network", "none", "--name", name, *volumes, *options, IMAGE, "/usr/bin/sleep", "infinity")
        return name

    def _run(self, *command: str) -> subprocess.Popen[bytes]:
        with (self._folder / "log").open("ab") as log:
            return subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)

    def _answers(self) -> bool:
        return subprocess.run(["docker", "-H", self.address, "version"], capture_output=True, check=False).returncode == 0


@contextmanager
def private_engine() -> Iterator[PrivateEngine]:
    """Bring up an engine with one nearly empty image; skip the tests where there cannot be one."""
    missing = [program for program in ("containerd", "dockerd", "docker", "unshare") if not shutil.which(program)]
    if missing or os.geteuid():
        pytest.skip(f"a docker engine of one's own needs root and these programs: {', '.join(missing) or 'all are here'}")
    # A short path: that of a socket ends at 107 characters.
    with TemporaryDirectory(prefix="tuneyard-docker-", ignore_cleanup_errors=True) as folder:
        engine = PrivateEngine(Path(folder))
        try:
            engine.start()
        except RuntimeError as reason:
            engine.stop()
            if os.environ.get("CI") == "true":
                raise
            pytest.skip(f"dockerd does not come up here: {reason}")
        try:
            engine.docker("import", "--change", f"ENV PATH={PATH}", "-", IMAGE, stdin=_root_file_system())
            yield engine
        finally:
            engine.stop()


def _root_file_system() -> bytes:
    """Give mount points, and who is who: all else is mounted from this machine."""
    content = BytesIO()
    with tarfile.open(fileobj=content, mode="w") as tar:
        for name in FOLDERS:
            tar.addfile(_entry(name, tarfile.DIRTYPE))
        for name, target in LINKS.items():
            link = _entry(name, tarfile.SYMTYPE)
            link.linkname = target
            tar.addfile(link)
        for path in ("/etc/passwd", "/etc/group", "/etc/ld.so.cache"):
            tar.add(path)
    return content.getvalue()


def _entry(name: str, kind: bytes) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type = kind
    entry.mode = 0o755
    return entry
