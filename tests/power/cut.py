"""What a power cut leaves on the disk: everything that was made safe, and of what came after it whatever chance has it.

The rules are those of file systems that a box may have, and nothing friendlier:

* The content of a file is safe up to its last fsync or fdatasync that has returned; sync_file_range makes nothing safe.
* Of later writes any may be on the disk and any other not, in any order, each torn at sectors of 512 bytes or at pages. A sector that is
  there is as it was in memory at one moment after a write to it.
* A file may have its new size and zeros where data is missing, or all of its data and the old size.
* Names and sizes are kept in order, as by a journal, up to a random point behind what an fsync of that file or folder made safe. In the
  strict kind each folder has an order of its own: an fsync of a file makes the name safe under which it was made, as every file system of
  Linux has it, but no later one, and not the folder that it is in.
"""

import dataclasses
import os
import pathlib
import random

from recording import ROOT, Change, Node, Recording

SECTOR, PAGE = 512, 4096
BOOT = pathlib.Path("/proc/sys/kernel/random/boot_id").read_bytes().strip()


@dataclasses.dataclass
class Cut:
    """A power cut at one moment of a recording."""

    moment: int
    is_strict: bool
    seed: str


class Disk:
    """Makes folders as cuts leave them. Cuts come in the order of their moments, so that what is safe is only added to."""

    def __init__(self, recording: Recording):
        self.recording = recording
        self.safe = {}  # node -> (changes that are safe, content with them)

    def leave(self, cut: Cut, into: pathlib.Path) -> None:
        chance = random.Random(cut.seed)
        done, tree = self._names(cut, chance)
        self._put(tree, ROOT, into, cut, done, chance)

    def _put(self, tree, folder, into, cut, done, chance) -> None:
        into.mkdir(mode=0o700)
        for name, node in sorted(tree.get(folder, {}).items()):
            path = into / os.fsdecode(name)
            if self.recording.nodes[node].is_folder:
                self._put(tree, node, path, cut, done, chance)
            else:
                content = self._content(node, cut, done, chance)
                path.touch(mode=0o600)
                # The power cut has ended this life of the machine: what comes after it is another one.
                path.write_bytes(content.replace(BOOT, BOOT[::-1]))

    def _names(self, cut: Cut, chance: random.Random) -> tuple:
        """Which steps have reached the disk, and the names that come of them."""
        steps, nodes = self.recording.steps, self.recording.nodes
        issued = [number for number, step in enumerate(steps) if step.start <= cut.moment]
        synced = {}
        for number, node in enumerate(nodes):
            starts = [start for start, end in node.syncs if end <= cut.moment]
            if starts:
                synced[number] = max(starts)
        done = set()
        if cut.is_strict:
            orders = {}
            for number in issued:
                step = steps[number]
                owner = step.edits[0][0] if step.edits else step.cut
                orders.setdefault(owner, []).append(number)
            for owner, order in sorted(orders.items()):
                safe = [place + 1 for place, number in enumerate(order)
                        if steps[number].end <= max(synced.get(owner, -1), synced.get(steps[number].made, -1))]
                done.update(order[:reached(max(safe, default=0), len(order), chance)])
        else:
            safe = 0
            for place, number in enumerate(issued):
                step = steps[number]
                about = {step.cut, *(edit[0] for edit in step.edits), *(edit[2] for edit in step.edits)} - {None}
                if any(step.end <= synced.get(node, -1) for node in about):
                    safe = place + 1
            done.update(issued[:reached(safe, len(issued), chance)])
        tree = {folder: dict(names) for folder, names in self.recording.before.items()}
        for number in sorted(done):
            for folder, name, node in steps[number].edits:
                names = tree.setdefault(folder, {})
                if node is None:
                    names.pop(name, None)
                else:
                    names[name] = node
        return done, tree

    def _content(self, number: int, cut: Cut, done: set, chance: random.Random) -> bytes:
        node = self.recording.nodes[number]
        synced = max((start for start, end in node.syncs if end <= cut.moment), default=-1)
        count, content = self.safe.get(number, (0, bytearray(node.content)))
        while count < len(node.changes) and node.changes[count].end <= synced:
            apply(content, node.changes[count])
            count += 1
        self.safe[number] = (count, content)
        pending = []
        for change in node.changes[count:]:
            if change.start > cut.moment:
                break
            # What is written behind a new size is in blocks that nothing points to before that size is on the disk.
            if change.step is not None and change.step not in done:
                break
            pending.append(change)
        return arrive(content, pending, chance) if pending else bytes(content)


def reached(least: int, most: int, chance: random.Random) -> int:
    """How far a journal came: often not beyond what was made safe, often to the end."""
    return chance.choice([least, most, chance.randint(least, most)])


def apply(content: bytearray, change: Change) -> None:
    if change.step is not None:
        del content[change.at:]
        content.extend(bytes(change.at - len(content)))
        return
    content.extend(bytes(max(0, change.at - len(content))))
    content[change.at:change.at + len(change.data)] = change.data


def arrive(safe: bytearray, pending: list, chance: random.Random) -> bytes:
    """The content of a file of which `pending` was on its way. `memory` is what the system had in memory, `disk` what was on the disk."""
    memory, disk = bytearray(safe), bytearray(safe)
    writes = sum(change.step is None for change in pending)
    unit = chance.choice([SECTOR, PAGE])
    kind = chance.choice(["none", "all", "some", "some", "first", "last", "units"])
    share, border = chance.choice([0.1, 0.5, 0.9]), chance.randint(0, writes)
    number = -1
    for change in pending:
        apply(memory, change)
        if change.step is not None:
            apply(disk, change)
            continue
        number += 1
        first, last = change.at // unit, max(change.at, change.at + len(change.data) - 1) // unit
        units = range(first, last + 1)
        is_torn = kind == "units" or (kind in ("first", "last") and number == border)
        if kind == "some" and chance.random() < share:
            is_torn = chance.random() < 0.25
            is_there = True
        else:
            is_there = kind == "all" or (kind == "first" and number < border) or (kind == "last" and number > border)
        if is_torn:
            units = [one for one in units if chance.random() < share]
            is_there = True
        if not is_there:
            continue
        for one in (units if is_torn else [None]):
            start, end = (first * unit, (last + 1) * unit) if one is None else (one * unit, (one + 1) * unit)
            piece = memory[start:end]
            disk.extend(bytes(max(0, start - len(disk))))
            disk[start:start + len(piece)] = piece
    size = chance.choice(["of data", "of data", "of memory", "old"])
    if size == "of memory":
        disk.extend(bytes(max(0, len(memory) - len(disk))))
    elif size == "old":
        del disk[chance.randint(min(len(safe), len(disk)), len(disk)):]
    return bytes(disk)
