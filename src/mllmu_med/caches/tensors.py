"""Tensors by content on disk: named entries of one space, in safetensors files that are mapped, never read whole.

A space stands for all that its tensors depend on beside their names: weights, settings, arithmetic. Its folder is
``KIND/SPACE``. Entries are gathered and written some megabytes at a time, so that 100,000 of them are a few files; a
file is complete under its name or not there at all. Every tensor has its SHA-256 in the file's header and is compared
with it when it is first used: what is damaged, cut off or of another space is removed, with one line in the log, and
counts as absent. A disk that is full or read-only ends the writing, with one line, and nothing else.
"""

from __future__ import annotations

import json
import logging
import os
import time
import weakref
from collections.abc import Iterable, Mapping
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from mllmu_med.caches.place import cache_folder, cache_size, private_folder
from mllmu_med.caches.room import remove, touch, wrote
from mllmu_med.folders import digest

log = logging.getLogger("mllmu_med")

FORMAT = "mllmu-med/tensors/1"
GATHERED = 32 << 20
"""Bytes that are gathered before they are written."""

PATIENCE = 60.0
"""Seconds after which what is gathered is written however little it is; also between two notes that a file is used."""

_SUFFIX = ".safetensors"


@torch.no_grad()
def tensor_digest(tensor: Tensor) -> str:
    """SHA-256 (hex) over type, shape and bytes."""
    made = sha256(f"{tensor.dtype} {tuple(tensor.shape)}\0".encode())
    flat = tensor.detach().reshape(-1)
    if flat.numel():
        made.update(flat.cpu().contiguous().view(torch.uint8).numpy().data)
    return made.hexdigest()


class TensorStore:
    """The entries of one space: name → tensors by field.

    Args:
        kind: what they are, one of :data:`~mllmu_med.caches.room.TENSORS`.
        space: hex digest of all that they depend on beside their names.
    """

    def __init__(self, kind: str, space: str) -> None:
        self.folder = cache_folder() / kind / space[:32]
        self.space = space
        self._segments: dict[str, _Segment] = {}
        self._places: dict[str, _Segment] = {}
        self._pending: dict[str, dict[str, Tensor]] = {}
        self._since = 0.0
        self._listed = -1
        self._reads = self._writes = cache_size() > 0
        self._end = weakref.finalize(self, _write_rest, self.folder, space, self._pending)

    def get(self, name: str) -> dict[str, Tensor] | None:
        """The tensors of an entry on the CPU, mapped from its file; None where there is no such entry, or no sound one.

        They are to be read only, and to be copied before anything is computed with them in place: a map is not aligned
        as torch's own memory is, and some kernels sum in another order there.
        """
        if name in self._pending:
            return self._pending[name]
        if name not in self._places and self._reads:
            self._list()
        segment = self._places.get(name)
        if segment is None:
            return None
        found = segment.read(name)
        if found is None:
            self._discard(segment)
            return self.get(name)  # another file may hold it as well
        return found

    def put(self, name: str, tensors: Mapping[str, Tensor]) -> None:
        """Keep an entry; it is written with others, at the latest when the store is let go."""
        if not self._writes:
            return
        if not self._pending:
            self._since = time.monotonic()
        self._pending[name] = {
            field: tensor.detach().to("cpu", copy=True).contiguous() for field, tensor in tensors.items()
        }
        if self.gathered >= GATHERED or time.monotonic() - self._since > PATIENCE:
            self.flush()

    @property
    def gathered(self) -> int:
        """Bytes that wait to be written."""
        return sum(tensor.nbytes for entry in self._pending.values() for tensor in entry.values())

    def flush(self) -> None:
        """Write what was gathered."""
        if self._pending and not _write_rest(self.folder, self.space, self._pending):
            self._writes = False
        self._pending.clear()

    def _list(self) -> None:
        """Find files that were added since."""
        try:
            changed = self.folder.stat().st_mtime_ns
            if changed == self._listed:
                return
            names = sorted(name for name in os.listdir(self.folder) if name.endswith(_SUFFIX) and name[0] != ".")
        except OSError:
            return
        self._listed = changed
        for name in names:
            if name in self._segments:
                continue
            segment = _Segment(self.folder / name, self.space)
            if segment.damage:
                self._discard(segment)
                continue
            self._segments[name] = segment
            for entry in segment.names:
                self._places.setdefault(entry, segment)

    def _discard(self, segment: _Segment) -> None:
        if segment.damage != _ABSENT:
            log.warning("cache: %s is %s; what it held is computed again", segment.path, segment.damage)
            remove(segment.path)
        self._segments = {name: other for name, other in self._segments.items() if other is not segment}
        self._places = {name: other for name, other in self._places.items() if other is not segment}
        for other in self._segments.values():
            for name in segment.names & other.names:
                self._places.setdefault(name, other)


_ABSENT = "no longer there"


class _Segment:
    """One file: its entries, and what is wrong with it ("" = nothing so far)."""

    def __init__(self, path: Path, space: str) -> None:
        from safetensors import SafetensorError, safe_open

        self.path, self.damage = path, ""
        self.names: set[str] = set()
        self._fields: dict[str, list[str]] = {}
        self._sound: dict[str, dict[str, Tensor]] = {}
        self._touched = 0.0
        try:
            self._file = file = cast(Any, safe_open)(path, "pt")
            head = file.metadata() or {}
            keys = set(file.keys())
        except (OSError, RuntimeError, SafetensorError) as error:  # RuntimeError: torch, of a file that has just gone
            gone = not path.exists()
            self.damage = _ABSENT if gone else f"damaged ({str(error).strip().splitlines()[0]})"
            return
        try:
            self._digests: dict[str, str] = json.loads(head.get("digests", "{}"))
        except ValueError:
            self._digests = {}
        if head.get("format") != FORMAT or head.get("space") != space:
            self.damage = "of another format or space"
        elif keys != self._digests.keys():
            self.damage = "damaged (its header)"
        else:
            for key in sorted(keys):
                name, _, field = key.partition(":")
                self._fields.setdefault(name, []).append(field)
            self.names = set(self._fields)

    def read(self, name: str) -> dict[str, Tensor] | None:
        """An entry that agrees with its digests; otherwise None, and ``damage`` says why."""
        from safetensors import SafetensorError

        if time.monotonic() - self._touched > PATIENCE:
            self._touched = time.monotonic()
            touch(self.path)
        if name in self._sound:
            return self._sound[name]
        try:
            found = {field: self._file.get_tensor(f"{name}:{field}") for field in self._fields[name]}
        except (OSError, RuntimeError, SafetensorError) as error:
            self.damage = f"damaged ({str(error).strip().splitlines()[0]})"
            return None
        if any(tensor_digest(tensor) != self._digests[f"{name}:{field}"] for field, tensor in found.items()):
            self.damage = "damaged (a tensor is not what was written)"
            return None
        self._sound[name] = found
        return found


def _write_rest(folder: Path, space: str, entries: Mapping[str, Mapping[str, Tensor]]) -> bool:
    """Write entries as one file; False, with one line in the log, where that cannot be done."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    tensors = {f"{name}:{field}": tensor for name, entry in entries.items() for field, tensor in entry.items()}
    size = sum(tensor.nbytes for tensor in tensors.values())
    if not tensors or size > cache_size():
        return True
    head = {"format": FORMAT, "space": space, "digests": _digests(tensors.items())}
    target = folder / f"{digest(sorted(tensors))[:32]}{_SUFFIX}"
    part = target.with_name(f".part-{os.getpid()}-{target.name}")
    try:
        private_folder(folder)
        save_file(tensors, part, metadata=head)
        os.replace(part, target)
    except (OSError, SafetensorError) as error:
        with suppress(OSError):
            part.unlink()
        log.warning("cache: nothing more is kept in %s: %s", folder, str(error).strip().splitlines()[0])
        return False
    wrote(size)
    return True


def _digests(tensors: Iterable[tuple[str, Tensor]]) -> str:
    return json.dumps({key: tensor_digest(tensor) for key, tensor in tensors})
