"""Memory from the system: code (written, then made executable, never both), shared constants, workspaces."""

from __future__ import annotations

import ctypes
import mmap
import os
import weakref

from smalti.errors import ResourceError

_PROT_READ, _PROT_WRITE, _PROT_EXEC = 1, 2, 4
_MAP_PRIVATE, _MAP_ANONYMOUS = 0x02, 0x20
_MADV_HUGEPAGE = 14
_HUGE = 2 << 20
_FAILED = ctypes.c_void_p(-1).value

_libc = ctypes.CDLL(None, use_errno=True)
_mmap = _libc.mmap
_mmap.restype = ctypes.c_void_p
_mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
_munmap = _libc.munmap
_munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
_mprotect = _libc.mprotect
_mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
_madvise = _libc.madvise
_madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]


class Region:
    """A range of mapped memory, given back when closed or no longer referenced.

    ``address`` is where the usable bytes start, ``size`` how many there are.
    """

    def __init__(self, base: int, length: int, address: int, size: int) -> None:
        self.address = address
        self.size = size
        self._release = weakref.finalize(self, _munmap, base, length)
        # At exit threads may still run the code; the system takes the memory back anyway.
        self._release.atexit = False

    def close(self) -> None:
        """Give the memory back.  Nobody may use it any more."""
        self._release()


def map_code(code: bytes) -> Region:
    """Return a page-aligned read-and-execute copy of the code.  No page of it is ever writable and executable at once.

    Raises:
        ResourceError: the system refuses the memory or the right to execute it.
    """
    length = _pages(len(code))
    base = _map(length, _PROT_READ | _PROT_WRITE, "the model's code")
    region = Region(base, length, base, len(code))
    ctypes.memmove(base, code, len(code))
    if _mprotect(base, length, _PROT_READ | _PROT_EXEC) != 0:
        reason = os.strerror(ctypes.get_errno())
        region.close()
        raise ResourceError(f"the system refuses to make the model's code executable: {reason}")
    _flush_instruction_cache(base, len(code))
    return region


def map_file(descriptor: int, offset: int, size: int) -> Region:
    """Return a read-only view of a part of a file; processes that map the same file share its memory.

    If someone shortens the file in place (instead of replacing it by a rename), using the view ends the process.

    Raises:
        ResourceError: the system refuses the mapping.
    """
    skew = offset % mmap.PAGESIZE
    length = _pages(skew + max(size, 1))
    if size == 0:
        return map_anonymous(1, huge=False)
    base = _map(length, _PROT_READ, "the model's constants", descriptor, offset - skew)
    return Region(base, length, base + skew, size)


def map_anonymous(size: int, huge: bool) -> Region:
    """Return zeroed private memory, 64-byte aligned or better; ``huge`` asks for huge pages where that makes sense.

    Raises:
        ResourceError: the system refuses the memory.
    """
    if size < _HUGE or not huge:
        length = _pages(max(size, 1))
        base = _map(length, _PROT_READ | _PROT_WRITE, f"a workspace of {size} bytes")
        return Region(base, length, base, size)
    body = -(-size // _HUGE) * _HUGE
    length = body + _HUGE
    base = _map(length, _PROT_READ | _PROT_WRITE, f"a workspace of {size} bytes")
    address = -(-base // _HUGE) * _HUGE
    _madvise(address, body, _MADV_HUGEPAGE)
    return Region(base, length, address, size)


def protect_read_only(region: Region) -> None:
    """Make a region read-only.

    Raises:
        ResourceError: the system refuses.
    """
    if _mprotect(region.address, _pages(max(region.size, 1)), _PROT_READ) != 0:
        raise ResourceError(f"cannot protect the model's constants: {os.strerror(ctypes.get_errno())}")


def view(region: Region) -> memoryview:
    """Return the bytes of a region as a writable view; only valid while the region is open."""
    return memoryview((ctypes.c_ubyte * region.size).from_address(region.address)).cast("B")


def _map(length: int, protection: int, what: str, descriptor: int = -1, offset: int = 0) -> int:
    if length >= 1 << 47:
        raise ResourceError(f"cannot get memory for {what}: it is larger than any address space")
    flags = _MAP_PRIVATE | (_MAP_ANONYMOUS if descriptor < 0 else 0)
    base = _mmap(None, length, protection, flags, descriptor, offset)
    if base is None or base == _FAILED:
        raise ResourceError(f"cannot get memory for {what}: {os.strerror(ctypes.get_errno())}")
    return int(base)


def _pages(size: int) -> int:
    return -(-size // mmap.PAGESIZE) * mmap.PAGESIZE


def _flush_instruction_cache(address: int, size: int) -> None:
    """Make freshly written code visible where instruction caches do not follow data caches by themselves."""
    try:
        flush = ctypes.CDLL("libgcc_s.so.1").__clear_cache
    except (AttributeError, OSError):
        return
    flush.argtypes = [ctypes.c_void_p, ctypes.c_void_p]
    flush.restype = None
    flush(address, address + size)
