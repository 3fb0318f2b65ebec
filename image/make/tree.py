"""The file system of a box: Debian's packages unpacked, what their installation would have done that a box needs, and what is ours on top."""

import lzma
import os
import re
import shutil
import subprocess
from pathlib import Path

from .packages import IMAGE, Fault, Package, unpack

ROOT = IMAGE.parent
# The owner of the data on the partition that outlives every image: never another number.
SERVICE_ID = 900
# Of the kernel's modules these, and what they need. Folders end with a slash.
MODULES = (
    "arch/ crypto/ lib/ fs/ext4/ fs/squashfs/ fs/fat/ fs/nls/nls_ascii fs/nls/nls_cp437 fs/nls/nls_utf8 fs/efivarfs/ fs/autofs/ "
    "net/netfilter/nf_ net/netfilter/nft_ net/ipv4/netfilter/nf net/ipv6/netfilter/nf net/8021q/ "
    "drivers/block/zram/ drivers/block/virtio_blk drivers/block/loop drivers/char/ drivers/clk/ drivers/cpufreq/ drivers/dma/ drivers/firmware/ "
    "drivers/gpio/ drivers/gpu/drm/vc4/ drivers/gpu/drm/rockchip/ drivers/gpu/drm/tilcdc/ drivers/gpu/drm/tiny/ drivers/gpu/drm/virtio/ "
    "drivers/hwmon/raspberrypi drivers/hwmon/scmi drivers/hwmon/gpio drivers/hwmon/pwm drivers/i2c/ drivers/leds/ drivers/mailbox/ drivers/mfd/ "
    "drivers/mmc/ drivers/net/ethernet/broadcom/ drivers/net/ethernet/cadence/ drivers/net/ethernet/intel/ drivers/net/ethernet/realtek/ "
    "drivers/net/ethernet/stmicro/ drivers/net/ethernet/ti/ drivers/net/mdio/ drivers/net/pcs/ drivers/net/phy/ drivers/net/usb/ "
    "drivers/net/virtio_net drivers/nvme/host/ drivers/nvmem/ drivers/pci/ drivers/phy/ drivers/pinctrl/ drivers/pmdomain/ drivers/power/ "
    "drivers/pps/ drivers/ptp/ drivers/pwm/ drivers/regulator/ drivers/reset/ drivers/rtc/ drivers/scsi/scsi_mod drivers/scsi/sd_mod "
    "drivers/soc/ drivers/spi/ drivers/thermal/ drivers/tty/ drivers/usb/chipidea/ drivers/usb/common/ drivers/usb/core/ drivers/usb/dwc2/ "
    "drivers/usb/dwc3/ drivers/usb/host/ drivers/usb/musb/ drivers/usb/phy/ drivers/usb/storage/ drivers/virtio/ drivers/watchdog/"
).split()
# Units that start by themselves, beside those that Debian's packages link already.
ENABLED = [
    "rackhand.service", "rackhand.socket", "rackhand-on-boot.service", "rackhand-console.path", "rackhand-journal.timer", "rackhand-journal-stop.service",
    "nftables.service", "systemd-networkd.service", "systemd-resolved.service", "systemd-timesyncd.service",
]  # fmt: skip
# Nobody logs in, nothing is configured at the first start, and nothing asks for a person.
MASKED = [
    "console-getty.service", "container-getty@.service", "getty@.service", "serial-getty@.service", "systemd-firstboot.service", "systemd-sysusers.service", "systemd-homed-firstboot.service", "systemd-logind.service", "systemd-user-sessions.service",
    "systemd-networkd-wait-online.service", "systemd-ask-password-wall.path", "systemd-ask-password-console.path", "proc-sys-fs-binfmt_misc.automount", "ldconfig.service", "systemd-hwdb-update.service",
    "systemd-journal-catalog-update.service", "systemd-update-done.service", "systemd-binfmt.service", "systemd-machine-id-commit.service",
    "systemd-sysext.socket", "systemd-hostnamed.socket", "systemd-pcrphase.service", "systemd-pcrphase-sysinit.service", "systemd-tpm2-setup.service", "systemd-tpm2-setup-early.service", "getty.target", "e2scrub_all.timer", "e2scrub_reap.service",
]  # fmt: skip


def make(tree: Path, packages: list[Package], binary: Path, board: dict) -> None:
    """Makes the tree. Whose the files are does not matter: everything becomes root's when the file system is written."""
    unpack([package for package in packages if package.use == "root"], tree)
    trim(tree)
    ours(tree, binary, board)
    users(tree)
    for unit in ENABLED:
        enable(tree, unit)
    for unit in MASKED:
        link(tree / "etc/systemd/system" / unit, "/dev/null")
    busybox(tree)
    complete(tree)


def trim(tree: Path) -> None:
    """Takes away what a box has no use for, and every way to more rights."""
    for folder in ("etc/cron.daily", "etc/cron.d", "etc/init.d", "etc/default", "etc/skel", "etc/update-motd.d", "usr/share/bash-completion",
                   "usr/share/zsh", "usr/share/initramfs-tools", "usr/share/gdb", "usr/share/polkit-1", "usr/share/dbus-1", "usr/games",
                   "usr/lib/systemd/catalog"):  # fmt: skip
        shutil.rmtree(tree / folder, ignore_errors=True)
    # These want libraries that are left out, or people who log in.
    for program in ("usr/sbin/update-passwd", "usr/bin/lslogins", "usr/sbin/agetty", "usr/sbin/sulogin", "usr/bin/su", "usr/bin/mesg", "usr/bin/wall"):
        (tree / program).unlink(missing_ok=True)
    for module in tree.glob("usr/lib/*/security/pam_*.so"):
        module.unlink()
    for file in tree.rglob("*"):
        # No program runs with more rights than its caller has.
        if file.is_file() and not file.is_symlink():
            file.chmod(file.stat().st_mode & 0o777 & ~0o022)
    # Of the documentation the licences stay.
    for file in sorted((tree / "usr/share/doc").rglob("*"), reverse=True):
        if file.is_dir() and not file.is_symlink():
            file.rmdir() if not any(file.iterdir()) else None
        elif file.name != "copyright":
            file.unlink()
    for folder in ("proc", "sys", "dev", "run", "tmp", "var", "data", "efi", "boot", "root", "mnt"):
        (tree / folder).mkdir(exist_ok=True)


def ours(tree: Path, binary: Path, board: dict) -> None:
    """The program, its units, and the files of image/root."""
    for file in sorted((IMAGE / "root").rglob("*")):
        place = tree / file.relative_to(IMAGE / "root")
        if file.is_symlink():
            link(place, os.readlink(file))
        elif file.is_file():
            # As the file says, whatever the umask of the one who copied the source.
            install(file, place, 0o755 if os.access(file, os.X_OK) else 0o644)
    install(binary, tree / "usr/bin/rackhand", 0o755)
    for unit in (ROOT / "systemd").glob("rackhand*.s*"):
        if unit.suffix in (".service", ".socket"):
            install(unit, tree / "usr/lib/systemd/system" / unit.name)
    memory, watchdog = board["memory"], board["watchdog"]
    write(tree / "etc/systemd/system/rackhand.service.d/60-board.conf",
          f"# {board['title']}\n[Service]\nMemoryHigh={memory['service-high-mib']}M\nMemoryMax={memory['service-max-mib']}M\n")  # fmt: skip
    write(tree / "etc/systemd/system.conf.d/60-board.conf", f"# {board['title']}\n[Manager]\nWatchdogDevice={watchdog}\n")
    with (tree / "etc/rackhand/rackhand.toml").open("a") as settings:
        settings.write(f'\n[board]\nname = "{board["name"]}"\n')
    write(tree / "usr/lib/rackhand/board", f"{board['name']}\n")
    # Filled in by the initrd, which knows the machine; the root is read only.
    write(tree / "etc/machine-id", "")
    write(tree / "etc/hostname", "rackhand\n")
    write(tree / "etc/hosts", "127.0.0.1 localhost\n::1 localhost\n")
    link(tree / "etc/resolv.conf", "../run/systemd/resolve/resolv.conf")
    link(tree / "etc/mtab", "../proc/self/mounts")
    link(tree / "etc/localtime", "../usr/share/zoneinfo/UTC")
    write(tree / "etc/nsswitch.conf", "passwd: files\ngroup: files\nshadow: files\nhosts: files resolve [!UNAVAIL=return] dns\n")
    release = tree / "usr/lib/os-release"
    version = re.search(r'^version = "(.+)"', (ROOT / "Cargo.toml").read_text(), re.M)[1]
    text = re.sub(r"^PRETTY_NAME=.*", f'PRETTY_NAME="rackhand {version}"', release.read_text(), flags=re.M)
    release.write_text(text + f"IMAGE_ID=rackhand-{board['name']}\nIMAGE_VERSION={version}\n")


def users(tree: Path) -> None:
    """Users and groups, as systemd-sysusers would make them from the packages' lists, with numbers that hang on nothing but the names."""
    people = {"root": (0, 0, "/root"), "nobody": (65534, 65534, "/nonexistent"), "rackhand": (SERVICE_ID, SERVICE_ID, "/var/lib/rackhand")}
    groups = {"root": 0, "nogroup": 65534, "rackhand": SERVICE_ID}
    fixed = [line.split(":") for line in (tree / "usr/share/base-passwd/group.master").read_text().splitlines()]
    groups |= {words[0]: int(words[2]) for words in fixed}
    free = iter(range(SERVICE_ID - 1, 100, -1))
    lists = sorted((tree / "usr/lib/sysusers.d").glob("*.conf"), key=lambda file: file.name)
    lines = [line.split() for file in lists for line in file.read_text().splitlines()]
    for words in lines:
        if words and words[0].rstrip("!") in ("u", "g") and words[1] not in groups:
            groups[words[1]] = next(free)
        if words and words[0].rstrip("!") == "u" and words[1] not in people:
            people[words[1]] = (groups[words[1]], groups[words[1]], "/")
    # Nobody has a password or a shell, root least of all.
    write(tree / "etc/passwd", "".join(f"{name}:x:{uid}:{gid}::{home}:/usr/sbin/nologin\n" for name, (uid, gid, home) in people.items()))
    write(tree / "etc/group", "".join(f"{name}:x:{gid}:\n" for name, gid in groups.items()))
    write(tree / "etc/shadow", "".join(f"{name}:!*:19000::::::\n" for name in people), 0o600)


def enable(tree: Path, unit: str) -> None:
    """What `systemctl enable` does."""
    file = tree / "usr/lib/systemd/system" / unit
    if not file.exists():
        raise Fault(f"there is no unit {unit} in the image")
    for key, values in re.findall(r"^(WantedBy|RequiredBy|Alias|Also)=(.+)$", file.read_text(), re.M):
        for value in values.split():
            if key == "Alias":
                link(tree / "etc/systemd/system" / value, f"/usr/lib/systemd/system/{unit}")
            elif key == "Also":
                if (tree / "usr/lib/systemd/system" / value).exists():
                    enable(tree, value)
            else:
                folder = {"WantedBy": "wants", "RequiredBy": "requires"}[key]
                link(tree / f"etc/systemd/system/{value}.{folder}" / unit, f"/usr/lib/systemd/system/{unit}")


def busybox(tree: Path) -> None:
    """The small tools that scripts need, as links to the one program that has them, where no package brings its own."""
    tools = "sh cat cp chmod date dd df du echo env false grep gzip head hostname id ip kill ln ls mkdir mktemp mv ps pwd readlink rm sed sha256sum sleep sort sync tail tar test touch tr true uname vi wc xargs"
    for tool in tools.split():
        if not any((tree / folder / tool).is_symlink() or (tree / folder / tool).exists() for folder in ("usr/bin", "usr/sbin")):
            link(tree / "usr/bin" / tool, "busybox")


def complete(tree: Path) -> None:
    """Every library that a program of the tree asks for is in it."""
    files = [file for folder in ("usr/bin", "usr/sbin", "usr/lib") for file in (tree / folder).rglob("*") if file.is_file() and not file.is_symlink()]
    programs = [file for file in files if is_elf(file)]
    present = {file.name for file in (tree / "usr/lib").rglob("*.so*")}
    said = subprocess.run(["readelf", "--wide", "--dynamic", *programs], capture_output=True, text=True, check=False, env=os.environ | {"LC_ALL": "C"}).stdout
    missing = sorted(set(re.findall(r"\(NEEDED\).*\[(.+)\]", said)) - present)
    if missing:
        raise Fault(f"libraries are missing in the image: {', '.join(missing)}")


def is_elf(file: Path) -> bool:
    with file.open("rb") as opened:
        return opened.read(4) == b"\x7fELF"


def kernel(tree: Path, unpacked: Path) -> str:
    """Lays the kernel's modules into the tree, those that boards need, and returns the kernel's version."""
    source = next((unpacked / "usr/lib/modules").iterdir())
    version = source.name
    target = tree / "usr/lib/modules" / version
    if not (unpacked / "lib").exists():
        link(unpacked / "lib", "usr/lib")
    subprocess.run(["depmod", "--basedir", unpacked, version], check=True)
    needs = {}
    for line in (source / "modules.dep").read_text().splitlines():
        module, _, others = line.partition(":")
        needs[module] = others.split()
    wanted, todo = set(), [module for module in needs if module.startswith(tuple(f"kernel/{place}" for place in MODULES))]
    while todo:
        module = todo.pop()
        if module not in wanted:
            wanted.add(module)
            todo += needs[module]
    for module in sorted(wanted):
        # Unpacked: the file system packs them better all together.
        file = target / module.removesuffix(".xz")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(lzma.decompress((source / module).read_bytes()) if module.endswith(".xz") else (source / module).read_bytes())
    for licence in unpacked.glob("usr/share/doc/*/copyright"):
        install(licence, tree / licence.relative_to(unpacked))
    for name in ("modules.order", "modules.builtin", "modules.builtin.modinfo"):
        if (source / name).exists():
            install(source / name, target / name)
    subprocess.run(["depmod", "--basedir", tree, version], check=True)
    return version


def install(source: Path, target: Path, mode: int = 0o644) -> None:
    target.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    target.chmod(mode)


def write(target: Path, text: str, mode: int = 0o644) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    target.write_text(text)
    target.chmod(mode)


def link(place: Path, target: str) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    place.unlink(missing_ok=True)
    place.symlink_to(target)
