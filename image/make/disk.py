"""The disk: partitions and what is in them. Everything is written into plain files by programs that need no rights, and hangs on the input alone:
numbers that are random elsewhere come from the name of the board, and times from the lock of the packages."""

import os
import subprocess
import uuid
from pathlib import Path

from .packages import Fault
from .tree import SERVICE_ID

MIB = 1 << 20
SECTOR = 512
# Before the first partition there is room for a boot loader.
BEGIN_MIB, BOOT_MIB, ROOT_MIB, DATA_MIB = 16, 192, 192, 64
TYPES = {
    "boot": "C12A7328-F81F-11D2-BA4B-00A0C93EC93B",
    "data": "0FC63DAF-8483-4772-8E79-3D69D8477DE4",
    "arm64": "B921B045-1DF0-41C3-AF44-4C6F280D3FAE",
    "armhf": "69DAD710-2CE4-4E3C-B16C-21A1D49ABED3",
}


def write(target: Path, work: Path, board: dict, tree: Path, boot: dict[str, bytes], loader: list[tuple[int, bytes]], moment: int) -> None:
    """Writes the disk image."""
    environment = os.environ | {"SOURCE_DATE_EPOCH": str(moment), "E2FSPROGS_FAKE_TIME": str(moment), "TZ": "UTC", "LC_ALL": "C"}
    number = lambda what: str(uuid.uuid5(uuid.NAMESPACE_URL, f"rackhand:{board['name']}:{what}"))

    def run(*words: object, text: str | None = None) -> None:
        done = subprocess.run([str(word) for word in words], env=environment, input=text, capture_output=True, text=True, check=False)
        if done.returncode:
            raise Fault(f"{words[0]}: {done.stderr}{done.stdout}")

    root = squashfs(work, tree, run)
    if root.stat().st_size > ROOT_MIB * MIB:
        raise Fault(f"the system takes {root.stat().st_size} bytes, more than its slot of {ROOT_MIB} MiB")
    parts = {"boot": fat(work, boot, number("fat"), run, moment), "root-a": root, "data": data(work, number("data"), run)}

    sizes = {"boot": BOOT_MIB, "root-a": ROOT_MIB, "root-b": ROOT_MIB, "data": DATA_MIB}
    part = target.with_suffix(".part")
    part.unlink(missing_ok=True)
    with part.open("wb") as disk:
        disk.truncate((BEGIN_MIB + sum(sizes.values()) + 1) * MIB)
    table, begin = [f"label: gpt\nlabel-id: {number('disk')}\nfirst-lba: 34"], BEGIN_MIB
    begins = {}
    for name, size in sizes.items():
        kind = TYPES.get(name) or TYPES[board["architecture"]]
        extra = ", attrs=LegacyBIOSBootable" if name == "boot" else ""
        table.append(f"start={begin}MiB, size={size}MiB, type={kind}, uuid={number(name)}, name={name}{extra}")
        begins[name] = begin * MIB
        begin += size
    run("sfdisk", "--quiet", part, text="\n".join(table) + "\n")
    with part.open("r+b") as disk:
        for sector, content in loader:
            if sector * SECTOR + len(content) > BEGIN_MIB * MIB:
                raise Fault("the boot loader reaches into the first partition")
            disk.seek(sector * SECTOR)
            disk.write(content)
        for name, file in parts.items():
            sparse(disk, begins[name], file)
    part.rename(target)


def sparse(disk, begin: int, file: Path) -> None:
    """Copies a file to a place of the disk, but for what is zero there anyway."""
    with file.open("rb") as source:
        while block := source.read(MIB):
            if block.count(0) != len(block):
                disk.seek(begin)
                disk.write(block)
            begin += len(block)


def squashfs(work: Path, tree: Path, run) -> Path:
    """The read-only root. Everything is root's."""
    file = work / "root.squashfs"
    # Folders' own times are those of the making; the environment sets them all.
    run("mksquashfs", tree, file, "-comp", "zstd", "-Xcompression-level", "15", "-all-root", "-no-xattrs", "-noappend", "-no-progress", "-quiet", "-b", "256K")
    return file


def fat(work: Path, files: dict[str, bytes], number: str, run, moment: int) -> Path:
    """The boot partition."""
    image, folder = work / "boot.fat", work / "boot"
    with image.open("wb") as made:
        made.truncate(BOOT_MIB * MIB)
    run("mkfs.vfat", "-F", "32", "-n", "RACKHAND", "-i", number[:8], "--invariant", image)
    folders = {str(parent) for name in [*files, "slot-b/-"] for parent in Path(name).parents if str(parent) != "."}
    for name in sorted(folders):
        run("mmd", "-i", image, f"::/{name}")
    for name, content in sorted(files.items()):
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        os.utime(file, (moment, moment))
        run("mcopy", "-m", "-i", image, file, f"::/{name}")
    return image


def data(work: Path, number: str, run) -> Path:
    """The data partition, empty but for its folders: nothing on it is known before the box starts."""
    image = work / "data.ext4"
    with image.open("wb") as made:
        made.truncate(DATA_MIB * MIB)
    # Written right through to the card, and with room for many small files when it grows.
    run("mkfs.ext4", "-q", "-F", "-L", "data", "-U", number, "-m", "1", "-E", f"hash_seed={number},lazy_itable_init=0,lazy_journal_init=0,root_owner=0:0,nodiscard", image)
    commands = "".join(f"mkdir {folder}\n" for folder in ("rackhand", "systemd", "journal"))
    commands += f"sif rackhand uid {SERVICE_ID}\nsif rackhand gid {SERVICE_ID}\nsif rackhand mode 040700\n"
    commands += "".join(f"sif {folder} uid 0\nsif {folder} gid 0\n" for folder in ("systemd", "journal"))
    list_file = work / "debugfs"
    list_file.write_text(commands)
    run("debugfs", "-w", "-f", list_file, image)
    return image
