"""A box in QEMU: its disk, its network, its console, and clients that talk to it from outside."""

import base64
import json
import os
import re
import shutil
import socket
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FIRMWARE = Path("/usr/share/AAVMF")
# Where the guest finds the Core, and nothing else of the world outside.
CORE_IN_GUEST = "10.0.2.100:1710"
HOST_PROGRAM = ROOT / "target/debug/rackhand"
# Settings that only a test makes, given as the machine's firmware gives them to systemd.
DROP_IN = "systemd.unit-dropin.rackhand.service~test"


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Disk:
    """A disk of a box that the test can change while the box is off."""

    def __init__(self, image: Path, file: Path):
        self.file = file
        subprocess.run(["cp", "--sparse=always", "--reflink=auto", image, file], check=True)
        said = subprocess.run(["sfdisk", "--json", file], capture_output=True, text=True, check=True, env=os.environ | {"PATH": os.environ["PATH"] + ":/usr/sbin:/sbin"})
        self.parts = {part["name"]: part for part in json.loads(said.stdout)["partitiontable"]["partitions"]}

    def grow(self, mib: int) -> None:
        """A larger card than the image."""
        with self.file.open("r+b") as disk:
            disk.truncate(self.file.stat().st_size + (mib << 20))

    def on_data(self, commands: str) -> str:
        """Carries out commands of debugfs on the data partition."""
        begin = self.parts["data"]["start"] * 512
        size = self.parts["data"]["size"] * 512
        part = self.file.with_suffix(".data")
        # As large as the file system has become.
        whole = self.file.stat().st_size - begin
        run = lambda *words: subprocess.run(words, check=True, capture_output=True, text=True)
        run("dd", f"if={self.file}", f"of={part}", "bs=1M", f"skip={begin}", f"count={whole}", "iflag=skip_bytes,count_bytes", "conv=sparse")
        path = os.environ["PATH"] + ":/usr/sbin:/sbin"
        # What a cut left in the journal is played back first, as the box does.
        subprocess.run(["e2fsck", "-p", part], capture_output=True, check=False, env=os.environ | {"PATH": path})
        said = subprocess.run(["debugfs", "-w", "-f", "-", part], input=commands, capture_output=True, text=True, check=True, env=os.environ | {"PATH": path})
        run("dd", f"if={part}", f"of={self.file}", "bs=1M", f"seek={begin}", "oflag=seek_bytes", "conv=notrunc")
        part.unlink()
        assert size <= whole
        return said.stdout

    def put_key(self, role: str = "engineer") -> str:
        """Makes a key for the box, and returns it."""
        folder = self.file.parent / "keys"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        said = subprocess.run([HOST_PROGRAM, "key", "new", "--name", "test", "--role", role, "--data", folder], capture_output=True, text=True, check=True)
        key = next(word for word in re.findall(r"[A-Za-z0-9_-]{32,}", said.stdout))
        self.on_data(f"cd rackhand\nwrite {folder}/keys.json keys.json\nsif keys.json uid 900\nsif keys.json gid 900\nsif keys.json mode 0100600\n")
        return key


class Core:
    """The simulated Core, on the host."""

    def __init__(self, log: Path):
        self.port, self.control = free_port(), free_port()
        self.process = subprocess.Popen(
            [HOST_PROGRAM, "simcore", "--listen", f"127.0.0.1:{free_port()}", "--tcp", f"127.0.0.1:{self.port}", "--control", f"127.0.0.1:{self.control}"],
            stdout=log.open("w"),
            stderr=subprocess.STDOUT,
        )

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()


class Guest:
    """A running box. `core` is the port of a Core on the host; without one the box finds none. Without `network` it has no cable."""

    def __init__(self, disk: Disk, work: Path, name: str, *, core: int | None = None, network: bool = True, shell: bool = True, environment: dict[str, str] | None = None):
        self.began = time.monotonic()
        self.log = work / f"{name}.serial"
        self.tls, self.plain = free_port(), free_port()
        self.console = work / f"{name}.console"
        self.monitor = work / f"{name}.monitor"
        for path in (self.console, self.monitor):
            path.unlink(missing_ok=True)
        variables = work / f"{name}.vars"
        shutil.copy(FIRMWARE / "AAVMF_VARS.fd", variables)
        settings = {"RACKHAND_CORE_ADDRESS": CORE_IN_GUEST, "RACKHAND_CORE_TRANSPORT": "tcp"} | (environment or {})
        text = "[Service]\n" + "".join(f"Environment={key}={value}\n" for key, value in settings.items())
        # The shell that systemd would start there is not in the image.
        shell_drop_in = "[Service]\nExecStart=\nExecStart=/bin/sh\n"
        credentials = {DROP_IN: text, "systemd.unit-dropin.debug-shell.service~test": shell_drop_in}
        words = [
            "qemu-system-aarch64", "-M", "virt", "-cpu", "cortex-a72", "-accel", "tcg,thread=multi", "-smp", "2", "-m", "1024",
            "-display", "none", "-serial", f"file:{self.log}", "-monitor", f"unix:{self.monitor},server=on,wait=off",
            "-drive", f"if=pflash,format=raw,readonly=on,file={FIRMWARE / 'AAVMF_CODE.fd'}",
            "-drive", f"if=pflash,format=raw,file={variables}",
            "-drive", f"if=none,id=d0,format=raw,file={disk.file},cache=writeback", "-device", "virtio-blk-pci,drive=d0,bootindex=0",
            "-device", "virtio-rng-pci", "-device", "i6300esb", "-action", "watchdog=reset",
        ]  # fmt: skip
        for name_, content in credentials.items():
            words += ["-smbios", f"type=11,value=io.systemd.credential.binary:{name_}={base64.b64encode(content.encode()).decode()}"]
        if network:
            forward = f"user,id=n0,restrict=on,hostfwd=tcp:127.0.0.1:{self.tls}-:8443,hostfwd=tcp:127.0.0.1:{self.plain}-:8080"
            if core:
                forward += f",guestfwd=tcp:{CORE_IN_GUEST}-cmd:python3 {ROOT / 'tests/image/pipe.py'} {core}"
            words += ["-netdev", forward, "-device", "virtio-net-pci,netdev=n0,romfile="]
        else:
            words += ["-nic", "none"]
        if shell:
            # A root shell on a port that no board has, switched on by the test through the firmware; the image itself has no way in.
            words += [
                "-smbios", "type=11,value=io.systemd.boot.kernel-cmdline-extra=systemd.debug_shell=hvc0",
                "-device", "virtio-serial-pci", "-chardev", f"socket,id=c0,path={self.console},server=on,wait=off", "-device", "virtconsole,chardev=c0",
            ]  # fmt: skip
        self.process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=(work / f"{name}.qemu").open("w"), stderr=subprocess.STDOUT)
        self.shell_socket: socket.socket | None = None
        self.asked = 0
        self.key: str | None = None

    def age(self) -> float:
        return time.monotonic() - self.began

    def cut(self) -> None:
        """Pulls the power."""
        self.process.kill()
        self.process.wait()

    def get(self, path: str, timeout: float = 10) -> tuple[int, str]:
        return self.ask("GET", path, None, timeout)[:2]

    def ask(self, method: str, path: str, body: dict | None, timeout: float = 30) -> tuple[int, str, dict]:
        request = urllib.request.Request(f"https://127.0.0.1:{self.tls}{path}", method=method)
        request.add_header("Accept", "application/json, text/event-stream")
        if self.key:
            request.add_header("Authorization", f"Bearer {self.key}")
        data = None
        if body is not None:
            data = json.dumps(body).encode()
            request.add_header("Content-Type", "application/json")
        try:
            with urllib.request.urlopen(request, data, timeout=timeout, context=NO_CHECK) as answer:
                return answer.status, answer.read().decode(), dict(answer.headers)
        except urllib.error.HTTPError as fault:
            return fault.code, fault.read().decode(), dict(fault.headers)

    def until(self, what, limit: float):
        """Asks again and again until there is an answer that is not None; None when the time is over or the box is gone."""
        end = time.monotonic() + limit
        while time.monotonic() < end and self.process.poll() is None:
            try:
                found = what()
                if found is not None:
                    return found
            except (OSError, TimeoutError, ValueError):
                pass
            time.sleep(0.3)
        return None

    def alive(self, limit: float = 300) -> bool:
        """The service answers from outside: systemd has heard that it is ready, for its ports are served from then on."""
        return self.until(lambda: True if self.get("/livez")[0] == 200 else None, limit) is not None

    def call(self, tool: str, arguments: dict, timeout: float = 60) -> dict:
        """One call of a tool over MCP, stateless as of 2025-06-18 with a session of its own."""
        start = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "image test", "version": "1"}}}
        status, text, headers = self.ask("POST", "/mcp", start, timeout)
        if status != 200:
            raise ValueError(f"initialize: {status} {text[:300]}")
        session = {key.lower(): value for key, value in headers.items()}.get("mcp-session-id")
        request = urllib.request.Request(f"https://127.0.0.1:{self.tls}/mcp", method="POST")
        for name, value in (("Accept", "application/json, text/event-stream"), ("Content-Type", "application/json"), ("MCP-Protocol-Version", "2025-06-18")):
            request.add_header(name, value)
        if session:
            request.add_header("Mcp-Session-Id", session)
        request.add_header("Authorization", f"Bearer {self.key}")
        body = {"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {"name": tool, "arguments": arguments}}
        with urllib.request.urlopen(request, json.dumps(body).encode(), timeout=timeout, context=NO_CHECK) as answer:
            text = answer.read().decode()
        # An answer is JSON, or an event stream with it.
        events = [line[5:] for line in text.splitlines() if line.startswith("data:")]
        found = [one for one in (json.loads(event) for event in events or [text] if event.strip()) if one.get("id") == 2]
        if not found or "error" in found[0]:
            raise ValueError(text[:600])
        return found[0]["result"]

    def run(self, command: str, timeout: float = 90) -> tuple[int, str]:
        """Carries out a command in the box's debug shell."""
        if self.shell_socket is None:
            self.shell_socket = self.until(self.open_console, 30)
            # What is typed while the terminal is still set up gets lost.
            self.until(lambda: self.typed("stty -echo 2>/dev/null; PS1=; PS2=; export SYSTEMD_PAGER= SYSTEMD_COLORS=0 TERM=dumb", 5), timeout)
        return self.typed(command, timeout)

    def open_console(self) -> socket.socket:
        opened = socket.socket(socket.AF_UNIX)
        opened.connect(str(self.console))
        return opened

    def typed(self, command: str, timeout: float) -> tuple[int, str]:
        self.asked += 1
        # The two halves keep the shell's echo of the line from being taken for the end.
        self.shell_socket.sendall(f"{command}; echo END\"\"-{self.asked}-$?-\n".encode())
        got, end = b"", time.monotonic() + timeout
        while time.monotonic() < end:
            self.shell_socket.settimeout(max(0.1, end - time.monotonic()))
            try:
                got += self.shell_socket.recv(65536)
            except TimeoutError:
                break
            found = re.search(rb"END-%d-(\d+)-" % self.asked, got)
            if found:
                text = re.sub(r"\x1b[\[\]][0-9;?=]*[a-zA-Z\\]?", "", got[: found.start()].decode(errors="replace")).replace("\r", "")
                return int(found[1]), "\n".join(line for line in text.split("\n") if 'END""' not in line).strip()
        raise TimeoutError(f"no answer to {command!r}; got {got[-300:]!r}")

    def show(self, *names: str, unit: str = "rackhand.service") -> dict[str, str]:
        words = "".join(f" -p {name}" for name in names)
        return dict(line.split("=", 1) for line in self.run(f"systemctl show{words} {unit}")[1].splitlines() if "=" in line)

    def serial(self) -> str:
        return self.log.read_text(errors="replace")


NO_CHECK = ssl.create_default_context()
NO_CHECK.check_hostname = False
NO_CHECK.verify_mode = ssl.CERT_NONE
