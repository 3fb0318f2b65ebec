"""What one run of the writer asked of its file system, in order: read from a trace of its system calls."""

import dataclasses
import os
import pathlib
import re
import subprocess

# Every call that changes a file or a folder, that says when a change is safe, or that makes a number stand for a file.
CALLS = """open openat creat close write pwrite64 writev pwritev pwritev2 fsync fdatasync sync_file_range sync syncfs ftruncate truncate
fallocate rename renameat renameat2 unlink unlinkat rmdir mkdir mkdirat link linkat symlink symlinkat copy_file_range sendfile splice
dup dup2 dup3 lseek mmap""".split()
# Calls that this reader does not follow. On a file of the data folder they end the test: it would no longer know what is on the disk.
UNKNOWN = set("open creat writev pwritev pwritev2 sync syncfs truncate fallocate link linkat symlink symlinkat copy_file_range sendfile splice "
              "dup dup2 dup3".split())
ROOT = 0

HEX = r'(?:\\x[0-9a-f]{2})*'
FILE = rf'(\d+|AT_FDCWD)<({HEX})>(?:\(deleted\))?'
TEXT = rf'"({HEX})"'
PATTERNS = {
    "openat": rf'{FILE}, {TEXT}, ([A-Z_|]+)',
    "close": FILE,
    "write": rf'{FILE}, {TEXT}, ',
    "pwrite64": rf'{FILE}, {TEXT}, \d+, (\d+)',
    "fsync": FILE,
    "fdatasync": FILE,
    "ftruncate": rf'{FILE}, (\d+)',
    "rename": rf'{TEXT}, {TEXT}',
    "unlink": TEXT,
    "rmdir": TEXT,
    "unlinkat": rf'{FILE}, {TEXT}',
    "mkdir": TEXT,
    "mkdirat": rf'{FILE}, {TEXT}',
}
PATTERNS = {name: re.compile(pattern) for name, pattern in PATTERNS.items()}
RESULT = re.compile(r'\)\s+= (-?\d+)')


class Unread(Exception):
    """The trace shows what this reader does not understand."""


@dataclasses.dataclass
class Step:
    """A change of the tree: of names in a folder, or of the size of a file. A journal keeps their order."""

    start: int
    end: int
    edits: list  # of (folder, name, node or None)
    cut: int | None = None  # the node whose size it sets
    made: int | None = None  # the file that it makes


@dataclasses.dataclass
class Change:
    """A change of the content of a file: bytes at an offset, or where `step` is given a new size."""

    start: int
    end: int
    at: int
    data: bytes
    step: int | None = None


@dataclasses.dataclass
class Node:
    """A file or a folder, by whatever name."""

    is_folder: bool
    content: bytes = b""
    changes: list = dataclasses.field(default_factory=list)
    syncs: list = dataclasses.field(default_factory=list)  # of (start, end)


@dataclasses.dataclass
class Open:
    node: int
    at: int
    is_append: bool


def plain(text: str) -> bytes:
    return bytes.fromhex(text.replace("\\x", ""))


class Recording:
    """Runs a program under strace and keeps what it did below `data`, and when it said what in the file `told`."""

    def __init__(self, command: list, data: pathlib.Path, told: pathlib.Path, trace: pathlib.Path):
        self.data, self.told = os.fsencode(data), os.fsencode(told)
        self.nodes, self.children, self.steps, self.marks = [Node(True)], {ROOT: {}}, [], []
        self.moments = 0
        self._take(data, ROOT)
        self.before = {folder: dict(names) for folder, names in self.children.items()}
        self._open = {}
        trace_calls = "trace=" + ",".join(CALLS)
        strace = ["strace", "-f", "-y", "-xx", "-s", str(1 << 26), "--seccomp-bpf", "-o", str(trace), "-e", trace_calls]
        subprocess.run(strace + command, check=True)
        with open(trace, encoding="ascii") as lines:
            self._read(lines)

    def _take(self, folder: pathlib.Path, node: int) -> None:
        for entry in sorted(folder.iterdir()):
            is_folder = entry.is_dir()
            new = self._new(is_folder, b"" if is_folder else entry.read_bytes())
            self.children[node][os.fsencode(entry.name)] = new
            if is_folder:
                self._take(entry, new)

    def _new(self, is_folder: bool, content: bytes = b"") -> int:
        self.nodes.append(Node(is_folder, content))
        new = len(self.nodes) - 1
        if is_folder:
            self.children[new] = {}
        return new

    def _read(self, lines) -> None:
        begun = {}
        for number, line in enumerate(lines):
            thread, rest = line.rstrip("\n").split(None, 1)
            if rest.startswith(("+++", "---")):
                continue
            start = number
            if rest.startswith("<... "):
                start, head = begun.pop(thread)
                rest = head + rest.partition(" resumed>")[2]
            elif rest.endswith("<unfinished ...>"):
                head = rest.removesuffix("<unfinished ...>").rstrip(" ")
                begun[thread] = (number, head)
                # From here on the number may be given to another file.
                if head.startswith("close("):
                    self._close(head)
                continue
            self._call(start, number, rest)
            self.moments = number + 1
        for start, head in begun.values():
            # The end of the process came first: it may have been carried out, as in a cut.
            self._call(start, self.moments, head + ") = 0")

    def _close(self, text: str) -> None:
        found = PATTERNS["close"].match(text.partition("(")[2])
        if found:
            self._open.pop(found[1], None)

    def _call(self, start: int, end: int, text: str) -> None:
        name, _, rest = text.partition("(")
        result = RESULT.search(rest, rest.rfind(")"))
        if result is None or int(result[1]) < 0:
            return
        if name in UNKNOWN or (name == "mmap" and "MAP_SHARED" in rest and "PROT_WRITE" in rest):
            if self.data in plain("".join(re.findall(HEX, rest))):
                raise Unread(f"{name} on a file of the data folder")
            return
        if name == "close":
            # Of two calls that cross, the one that began later has the number.
            if start == end:
                self._close(text)
            return
        if name not in PATTERNS:
            return
        found = PATTERNS[name].match(rest)
        if found is None:
            raise Unread(text[:200])
        getattr(self, "_" + name)(start, end, int(result[1]), *found.groups())

    def _place(self, path: bytes) -> tuple | None:
        """Folder and name that a path stands for; nothing outside the data folder, or below a folder that is not there."""
        if not path.startswith(self.data + b"/"):
            return None
        *above, name = path[len(self.data) + 1:].split(b"/")
        folder = ROOT
        for part in above:
            folder = self.children.get(folder, {}).get(part)
        return None if folder is None else (folder, name)

    def _step(self, start: int, end: int, edits: list, cut: int | None = None, made: int | None = None) -> int:
        for folder, name, node in edits:
            if node is None:
                self.children[folder].pop(name, None)
            else:
                self.children[folder][name] = node
        self.steps.append(Step(start, end, edits, cut, made))
        return len(self.steps) - 1

    def _open_path(self, start: int, end: int, number: int, path: bytes, flags: str) -> None:
        if path == self.told:
            self._open[str(number)] = Open(-1, 0, True)
            return
        if path == self.data:
            self._open[str(number)] = Open(ROOT, 0, False)
            return
        place = self._place(path)
        if place is None:
            self._open.pop(str(number), None)
            return
        flags = flags.split("|")
        folder, name = place
        node = self.children[folder].get(name)
        if node is None:
            if "O_CREAT" not in flags:
                raise Unread(f"{os.fsdecode(path)} was opened and is not known")
            node = self._new(False)
            self._step(start, end, [(folder, name, node)], made=node)
        elif "O_TRUNC" in flags:
            step = self._step(start, end, [], node)
            self.nodes[node].changes.append(Change(start, end, 0, b"", step))
        is_append = "O_APPEND" in flags
        if "O_RDWR" in flags and not is_append:
            self._open[str(number)] = Open(node, -1, False)  # Only positioned writes may come: reads move it as well.
        else:
            self._open[str(number)] = Open(node, 0, is_append)

    def _openat(self, start, end, number, _folder, below, path, flags) -> None:
        self._open_path(start, end, number, os.path.join(plain(below), plain(path)), flags)

    def _write(self, start, end, count, number, _path, data) -> None:
        file = self._open.get(number)
        if file is None:
            return
        data = plain(data)[:count]
        if file.node < 0:
            self.marks += [(start, line) for line in data.decode().splitlines()]
            return
        if file.at < 0:
            raise Unread("a write at a position that is not known")
        at = size(self.nodes[file.node]) if file.is_append else file.at
        self.nodes[file.node].changes.append(Change(start, end, at, data))
        file.at = at + count

    def _pwrite64(self, start, end, count, number, _path, data, at) -> None:
        file = self._open.get(number)
        if file is not None:
            self.nodes[file.node].changes.append(Change(start, end, int(at), plain(data)[:count]))

    def _fsync(self, start, end, _result, number, _path) -> None:
        file = self._open.get(number)
        if file is not None and file.node >= 0:
            self.nodes[file.node].syncs.append((start, end))

    _fdatasync = _fsync

    def _ftruncate(self, start, end, _result, number, _path, length) -> None:
        file = self._open.get(number)
        if file is not None:
            step = self._step(start, end, [], file.node)
            self.nodes[file.node].changes.append(Change(start, end, int(length), b"", step))

    def _rename(self, start, end, _result, old, new) -> None:
        old, new = self._place(plain(old)), self._place(plain(new))
        if old is None or new is None:
            return
        if old[0] != new[0]:
            raise Unread("a file was moved to another folder")
        self._step(start, end, [(*old, None), (*new, self.children[old[0]][old[1]])])

    def _remove(self, start: int, end: int, path: bytes) -> None:
        place = self._place(path)
        if place is not None:
            self._step(start, end, [(*place, None)])

    def _unlink(self, start, end, _result, path) -> None:
        self._remove(start, end, plain(path))

    _rmdir = _unlink

    def _unlinkat(self, start, end, _result, _folder, below, path) -> None:
        self._remove(start, end, os.path.join(plain(below), plain(path)))

    def _mkdir(self, start, end, _result, path) -> None:
        place = self._place(plain(path))
        if place is not None:
            self._step(start, end, [(*place, self._new(True))])

    def _mkdirat(self, start, end, _result, _folder, below, path) -> None:
        place = self._place(os.path.join(plain(below), plain(path)))
        if place is not None:
            self._step(start, end, [(*place, self._new(True))])


def size(node: Node) -> int:
    """Size of a file after all its changes."""
    length = len(node.content)
    for change in node.changes:
        length = change.at if change.step is not None else max(length, change.at + len(change.data))
    return length
