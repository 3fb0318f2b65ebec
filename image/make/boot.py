"""What a box starts with: the initrd, and the boot partition of each way to boot."""

import re
import subprocess
from pathlib import Path

from .packages import IMAGE, Fault

# Drivers with which the initrd reaches the root file system, and the first network port for the name of the box.
INITRD_MODULES = (
    "virtio_pci virtio_mmio virtio_blk virtio_net squashfs mmc_block sdhci-iproc sdhci-pltfm bcm2835 sdhci-of-arasan dw_mmc-rockchip "
    "sdhci-of-dwcmshc sdhci-omap omap_hsmmc nvme usb-storage xhci-pci pcie-brcmstb reset-raspberrypi phy-rockchip-emmc "
    "phy-rockchip-naneng-combphy phy-rockchip-pcie pcie-rockchip-host rk808-regulator ahci sd_mod tps65217-regulator"
).split()
EFI = {"arm64": ("systemd-bootaa64.efi", "BOOTAA64.EFI"), "armhf": ("systemd-bootarm.efi", "BOOTARM.EFI")}


def initrd(tree: Path, version: str, busybox: Path, target: Path, moment: int) -> None:
    """Writes the initrd: one program with all small tools, the drivers, and image/make/init."""
    modules = tree / "usr/lib/modules" / version
    needs = {}
    for line in (modules / "modules.dep").read_text().splitlines():
        module, _, others = line.partition(":")
        needs[module] = others.split()
    named = {Path(module).name.split(".")[0].replace("_", "-"): module for module in needs}
    found = [named[name.replace("_", "-")] for name in INITRD_MODULES if name.replace("_", "-") in named]
    wanted = sorted({module for one in found for module in (one, *needs[one])})
    files = {"bin/busybox": busybox.read_bytes(), "init": (IMAGE / "make/init").read_bytes()}
    base = f"usr/lib/modules/{version}"
    files |= {f"{base}/{module}": (modules / module).read_bytes() for module in wanted}
    # The lists of the whole tree, cut down to what is here.
    kept = {Path(module).name.split(".")[0].replace("-", "_") for module in wanted}
    dependencies = "".join(f"{module}: {' '.join(needs[module])}\n" for module in wanted)
    aliases = [line for line in (modules / "modules.alias").read_text().splitlines() if line.startswith("alias") and line.split()[-1] in kept]
    files[f"{base}/modules.dep"] = dependencies.encode()
    files[f"{base}/modules.alias"] = "".join(f"{line}\n" for line in aliases).encode()
    files[f"{base}/modules.symbols"] = b""
    links = {"bin/sh": "busybox", "sbin": "bin", "lib": "usr/lib"}
    folders = {str(parent) for name in [*files, *links] for parent in Path(name).parents if str(parent) != "."}
    folders |= {"dev", "proc", "sys", "run", "mnt", "etc"}
    entries = [(name, 0o40755, b"") for name in folders] + [(name, 0o100755, text) for name, text in files.items()]
    entries += [(name, 0o120777, place.encode()) for name, place in links.items()]
    archive = b"".join(cpio(number, *entry, moment) for number, entry in enumerate(sorted(entries), 1)) + cpio(0, "TRAILER!!!", 0, b"", 0)
    packed = subprocess.run(["zstd", "--quiet", "-19", "--stdout"], input=archive, stdout=subprocess.PIPE, check=True).stdout
    target.write_bytes(packed)


def cpio(number: int, name: str, mode: int, text: bytes, moment: int) -> bytes:
    """One entry of an archive of the kind that the kernel unpacks ("newc"), root's own."""
    links = 2 if mode & 0o40000 and not mode & 0o100000 else 1
    fields = (number, mode, 0, 0, links, moment, len(text), 0, 0, 0, 0, len(name) + 1, 0)
    head = b"070701" + "".join(f"{field:08x}" for field in fields).encode() + name.encode() + b"\0"
    return head + bytes(-len(head) % 4) + text + bytes(-len(text) % 4)


def command_line(board: dict, slot: str) -> str:
    """What the kernel is told: where its root is, and that nothing but the data partition is kept."""
    console = board["boot"]["console"]
    consoles = "console=tty1" + (f" console={console}" if console else "")
    return f"root=PARTLABEL=root-{slot} ro systemd.volatile=state systemd.gpt_auto=0 fsck.repair=yes panic=10 {consoles} quiet systemd.show_status=auto"


def files(board: dict, kernel: Path, initrd_file: Path, boot: Path, moment: int) -> dict[str, bytes]:
    """The boot partition, name by name. Slot b is empty until an update fills it."""
    method, tree_name = board["boot"]["method"], board["boot"]["device-tree"]
    made = {"slot-a/vmlinuz": next(kernel.glob("boot/vmlinuz-*")).read_bytes(), "slot-a/initrd.img": initrd_file.read_bytes()}
    if tree_name:
        found = next(kernel.glob(f"usr/lib/linux-image-*/{tree_name}"), None)
        if found is None:
            raise Fault(f"Debian's kernel has no device tree {tree_name}")
        made[f"slot-a/{found.name}"] = found.read_bytes()
    if method == "uefi":
        # The loader tries an entry whose name ends in +N that often, and takes it for good once the number is taken off its name.
        source, place = EFI[board["architecture"]]
        made[f"EFI/BOOT/{place}"] = (boot / "usr/lib/systemd/boot/efi" / source).read_bytes()
        made["loader/loader.conf"] = b"timeout 0\neditor no\n"
        tree_line = f"devicetree /slot-a/{Path(tree_name).name}\n" if tree_name else ""
        entry = f"title rackhand, slot a\nsort-key rackhand\nversion 1\nlinux /slot-a/vmlinuz\ninitrd /slot-a/initrd.img\n{tree_line}"
        made["loader/entries/slot-a.conf"] = f"{entry}options {command_line(board, 'a')}\n".encode()
    elif method == "raspberry":
        # The firmware reads config.txt, or once tryboot.txt after `reboot "0 tryboot"`: that is how slot b is tried.
        for name in ("start4.elf", "fixup4.dat"):
            made[name] = (boot / "usr/lib/raspi-firmware" / name).read_bytes()
        made["config.txt"] = (
            "arm_64bit=1\nenable_uart=1\nuart_2ndstage=0\nos_prefix=slot-a/\nkernel=vmlinuz\ninitramfs initrd.img followkernel\n"
            f"device_tree={Path(tree_name).name}\ncmdline=cmdline.txt\n"
        ).encode()
        made["slot-a/cmdline.txt"] = f"{command_line(board, 'a')}\n".encode()
    elif method == "u-boot":
        made["extlinux/extlinux.conf"] = (
            f"default slot-a\ntimeout 1\nlabel slot-a\n  linux /slot-a/vmlinuz\n  initrd /slot-a/initrd.img\n  fdt /slot-a/{Path(tree_name).name}\n"
            f"  append {command_line(board, 'a')}\n"
        ).encode()
    else:
        raise Fault(f"boards boot with uefi, raspberry or u-boot, not with {method}")
    made["README.TXT"] = (
        f"rackhand on {board['title']}\r\n\r\nThis partition starts the box. What it keeps is on another one.\r\n"
    ).encode()
    return made


def loader(board: dict, boot: Path) -> list[tuple[int, bytes]]:
    """What stands on the disk before the first partition: sector and bytes."""
    return [(one["sector"], (boot / "usr/lib/u-boot" / one["file"]).read_bytes()) for one in board["boot"].get("loader", [])]


def version_of(kernel: Path) -> str:
    return re.sub(r"^vmlinuz-", "", next(kernel.glob("boot/vmlinuz-*")).name)
