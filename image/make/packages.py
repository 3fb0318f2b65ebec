"""Debian's packages of an image: the lock that names them with their sums, the cache that holds them, and how they are unpacked."""

import hashlib
import os
import re
import subprocess
import time
import tomllib
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from pathlib import Path

IMAGE = Path(__file__).resolve().parent.parent
LOCK = IMAGE / "packages.lock"
CACHE = IMAGE.parent / "target" / "image" / "packages"
MIRROR = os.environ.get("RACKHAND_MIRROR", "http://deb.debian.org/debian")
LOCK_HEAD = """\
# Every package of the images, by architecture: use, name, version, sha256, place in the archive. Written by `image/build --relock`.
"""


class Fault(Exception):
    """Why there is no image, in words for the one who builds it."""


@dataclass(frozen=True)
class Package:
    """One line of the lock."""

    architecture: str
    # "root" for the file system of the box, "kernel", or "boot" for what lies on the boot partition or before it.
    use: str
    name: str
    version: str
    sha256: str
    # Below the mirror's folder `debian` or `debian-security`.
    place: str

    @property
    def file(self) -> Path:
        return CACHE / f"{self.sha256[:16]}-{self.name}.deb"


def recipe() -> dict:
    return tomllib.loads((IMAGE / "packages.toml").read_text())


def locked(architecture: str) -> list[Package]:
    """The packages of an architecture, as locked."""
    if not LOCK.exists():
        raise Fault("image/packages.lock is missing: image/build --relock writes it")
    lines = (line.split() for line in LOCK.read_text().splitlines() if line and not line.startswith(("#", "date")))
    packages = [Package(*words) for words in lines if words[0] == architecture]
    if not packages:
        raise Fault(f"image/packages.lock has no packages for {architecture}: image/build --relock writes them")
    return packages


def lock_time() -> int:
    """The moment of the lock: the age of every file of an image, whoever builds it and whenever."""
    words = next(line.split() for line in LOCK.read_text().splitlines() if line.startswith("date"))
    return int(words[1])


def fetch(packages: list[Package]) -> None:
    """Brings what is not in the cache. What arrives is held to its sum."""
    CACHE.mkdir(parents=True, exist_ok=True)
    for package in packages:
        if package.file.exists() and sum_of(package.file) == package.sha256:
            continue
        url = f"{MIRROR.removesuffix('/debian')}/{package.place}"
        part = package.file.with_suffix(".part")
        try:
            with urllib.request.urlopen(url, timeout=60) as answer:
                part.write_bytes(answer.read())
        except urllib.error.HTTPError as fault:
            if fault.code not in (404, 410):
                raise Fault(f"{url}: {fault}") from fault
            raise Fault(
                f"the mirror no longer has {package.name} {package.version} ({package.architecture}), which image/packages.lock names.\n"
                f"  To build this very image again, put the file with sha256 {package.sha256} into {package.file}\n"
                f"  (snapshot.debian.org keeps old versions), or run `image/build --relock` to take the versions of today."
            ) from fault
        except OSError as fault:
            raise Fault(f"{url}: {fault}") from fault
        got = sum_of(part)
        if got != package.sha256:
            raise Fault(f"{url} has sha256 {got}, and image/packages.lock says {package.sha256}")
        part.rename(package.file)


def unpack(packages: list[Package], folder: Path) -> None:
    """Lays the files of packages into a folder. No program of theirs runs, so any machine can do it for any architecture."""
    folder.mkdir(parents=True, exist_ok=True)
    for package in packages:
        files = subprocess.Popen(["dpkg-deb", "--fsys-tarfile", package.file], stdout=subprocess.PIPE)
        tar = ["tar", "--extract", "--file=-", "--no-same-owner", "--same-permissions", "--keep-directory-symlink", f"--directory={folder}"]
        left_out = [f"--exclude=./usr/share/{name}" for name in ("man", "locale", "info", "lintian", "bug")]
        done = subprocess.run([*tar, *left_out], stdin=files.stdout, check=False)
        if done.returncode or files.wait():
            raise Fault(f"{package.file} could not be unpacked")


def relock() -> None:
    """Writes the lock anew with what the archive has today."""
    wanted = recipe()
    lines = []
    for architecture, own in wanted["architecture"].items():
        apt = Apt(wanted, architecture)
        root = [line for line in apt.closure(own.get("packages", wanted["packages"])) if line[0] not in wanted["left-out"]]
        # The kernel's own name changes with each version, and stands in what the package of the newest one depends on.
        kernel = [line for line in apt.closure([own["kernel"]]) if re.match(r"linux-image-[0-9]", line[0])] if "kernel" in own else []
        boot = [line for line in apt.closure(own["boot"]) if line[0] in own["boot"]] if "boot" in own else []
        for use, found in (("root", root), ("kernel", kernel), ("boot", boot)):
            lines += [" ".join((architecture, use, *line)) for line in sorted(found)]
    LOCK.write_text(f"{LOCK_HEAD}date {int(time.time())}\n" + "".join(f"{line}\n" for line in lines))
    print(f"{LOCK}: {len(lines)} packages")


class Apt:
    """What the archive has for one architecture, asked through image/private-apt."""

    def __init__(self, wanted: dict, architecture: str):
        own = wanted["architecture"][architecture]
        self.folder = CACHE.parent / "apt" / architecture
        self.environment = os.environ | {
            "SUITES": own["suites"],
            "SECURITY": own["security"],
            "COMPONENTS": wanted["components"],
            "ARCHES": architecture,
            "SECURITY_ARCHES": architecture,
            "RACKHAND_MIRROR": MIRROR,
        }
        self.run("update")

    def run(self, *words: str) -> str:
        done = subprocess.run([IMAGE / "private-apt", self.folder, *words], env=self.environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise Fault(f"image/private-apt {' '.join(words)}:\n{done.stderr}")
        return done.stdout

    def closure(self, names: list[str]) -> list[tuple[str, str, str, str]]:
        """Name, version, sha256 and place of these packages and what they depend on."""
        found = []
        for line in self.run("closure", *names).splitlines():
            file, url, _, digest = line.split()
            name, version, _ = urllib.parse.unquote(file).split("_")
            path = urllib.parse.urlparse(url).path
            found.append((name, version, digest, path[path.index("/debian") + 1 :]))
        return found


def sum_of(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
