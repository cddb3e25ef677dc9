"""Kernels: loops over arrays, compiled by numba.

A kernel is a function of arrays and numbers in the part of Python that numba compiles. The first
call compiles it, which is announced; what was compiled is kept in the user's cache folder, if no
other user may write there, since it is loaded as code. `LMFST_COMPILED=0` in the environment runs
kernels as plain Python: the same numbers, a hundred times slower, to look into them.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import shutil
import stat
import time
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from lmfst.ground.announce import Announced
from lmfst.ground.cache import cache_dir, cache_place, sealed, unsealed
from lmfst.ground.errors import InputError

_Kernel = TypeVar("_Kernel", bound=Callable[..., Any])
_SUB = "kernels"
_KEPT_DAYS = 30
"""Days for which what other versions of lmfst have compiled is kept."""


@cache
def compiled() -> bool:
    """Whether kernels are compiled: unless `LMFST_COMPILED` was 0 in the environment when it was
    first asked."""
    return os.environ.get("LMFST_COMPILED", "1") != "0"


def kernel(function: _Kernel) -> _Kernel:
    """The function, compiled when it is first called with arguments of some types.

    A kernel may call kernels of modules that are imported before it.

    Floats obey IEEE 754 (nothing is reordered); a division by zero gives an infinity.
    """
    return _made(function, fused=False)


def fused_kernel(function: _Kernel) -> _Kernel:
    """The same, where a product and a sum may be one operation, which rounds once."""
    return _made(function, fused=True)


def _made(function: _Kernel, fused: bool) -> _Kernel:
    if not compiled():
        return function
    _announce_compiling().add(function)
    made: _Kernel = _decorated(function, fused, _folder())
    return made


def _decorated(function: Any, fused: bool, folder: Path | None) -> Any:
    """numba's function. folder: where to keep what is compiled; None: nowhere."""
    import numba

    before = numba.config.CACHE_DIR
    try:
        # Where to keep what is compiled is decided here, once.
        numba.config.CACHE_DIR = "" if folder is None else str(folder)
        decorate = numba.njit(
            cache=folder is not None,
            error_model="numpy",
            nogil=True,
            # Nobody calls them from C, nor private ones from outside a kernel: a quarter less to
            # compile.
            no_cfunc_wrapper=True,
            no_cpython_wrapper=function.__name__.startswith("_"),
            fastmath={"contract"} if fused else False,
        )
        return decorate(function) if folder is None else _careful(decorate(function))
    except RuntimeError:
        # The disk is full, or there is no file of the function.
        if folder is None:
            raise
        return _decorated(function, fused, None)
    finally:
        numba.config.CACHE_DIR = before


def _careful(dispatcher: Any) -> Any:
    """A function of numba's, whose cache finds damage by checksums and compiles anew, goes on
    where nothing can be written, and names files by what they hold, so that processes which write
    at once can't mix them up."""
    from numba.core import caching

    class File(caching.IndexDataCacheFile):  # type: ignore[misc]
        """An index of what is kept, and a file for each."""

        def load(self, key: Any) -> Any:
            name = self._load_index().get(key)
            return None if name is None else self._read(self._data_path(name))

        def save(self, key: Any, data: Any) -> None:
            name = f"{self._index_name}.{hashlib.sha256(repr(key).encode()).hexdigest()[:16]}.nbc"
            self._write(self._data_path(name), data)
            self._save_index({**self._load_index(), key: name})

        def _load_index(self) -> dict[Any, str]:
            found = self._read(self._index_path)
            stamp = (self._version, self._source_stamp)
            return found[1] if found is not None and found[0] == stamp else {}

        def _save_index(self, overloads: dict[Any, str]) -> None:
            self._write(self._index_path, ((self._version, self._source_stamp), overloads))

        def _read(self, path: str) -> Any:
            try:
                data = unsealed(Path(path).read_bytes())
                return None if data is None else pickle.loads(data)
            except OSError:
                return None

        def _write(self, path: str, content: Any) -> None:
            with suppress(OSError), self._open_for_write(path) as stream:
                stream.write(sealed(self._dump(content)))

    kept = dispatcher._cache
    save = kept.save_overload

    def save_overload(signature: Any, data: Any) -> None:
        with suppress(OSError):
            save(signature, data)

    kept.save_overload = save_overload
    kept._cache_file = File(
        kept.cache_path, kept._impl.filename_base, kept._cache_file._source_stamp
    )
    return dispatcher


@cache
def _folder() -> Path | None:
    """Where compiled kernels of these sources are kept; None if others could write there."""
    with suppress(OSError, InputError):
        # Absolute, since a program may go to another folder before its first call.
        base = Path(os.path.abspath(cache_dir(_SUB)))
        folder = base / _version()
        if not any(base.iterdir()):
            # It is new: made with the permissions that the process gives to all its files.
            base.chmod(0o700)
        if _is_own(base) and not any(map(_open_to_others, base.parents)):
            folder.mkdir(mode=0o700, exist_ok=True)
            if _is_own(folder) and os.access(folder, os.W_OK | os.X_OK):
                os.utime(folder)
                _remove_old(base, folder)
                return folder
    return None


def _version() -> str:
    """A digest of the package's sources. (numba itself looks at a kernel's own file alone, and not
    at those of the kernels that it calls.)"""
    package = Path(__file__).parent.parent
    digest = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        content = path.read_bytes()
        digest.update(f"{path} {len(content)}\n".encode() + content)
    return digest.hexdigest()[:16]


def _is_own(folder: Path) -> bool:
    """Whether a folder is this user's, and no other user may write it."""
    if not hasattr(os, "geteuid"):  # not a POSIX system: its cache folder is the user's own
        return True
    found = folder.lstat()
    others = found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not others


def _open_to_others(folder: Path) -> bool:
    """Whether others may put another folder in the place of one that lies in it."""
    if not hasattr(os, "geteuid"):
        return False
    found = folder.stat()
    to_all = bool(found.st_mode & stat.S_IWOTH) and not found.st_mode & stat.S_ISVTX
    return to_all or found.st_uid not in (0, os.geteuid())


def _remove_old(base: Path, own: Path) -> None:
    """Remove what versions of lmfst have left that nobody has used for long."""
    for folder in base.iterdir():
        with suppress(OSError):  # another process may have removed it meanwhile
            if folder != own and time.time() - folder.lstat().st_mtime > _KEPT_DAYS * 86400:
                shutil.rmtree(folder, ignore_errors=True)


@cache
def _announce_compiling() -> set[Any]:
    """Have the compiling of kernels announced, if it takes a while; to be told which are kernels,
    since a program may compile functions of its own."""
    from numba.core import event

    folder = _folder()
    kept = f"once; kept in {folder}" if folder else f"each time: {_unkept()}"
    announced = Announced(f"compiling the engine ({kept})")
    kernels: set[Any] = set()

    class Listener(event.Listener):  # type: ignore[misc]
        """Kernels that a kernel calls are compiled inside its own compilation."""

        depth = 0

        def on_start(self, event: Any) -> None:
            if _function(event) in kernels:
                if self.depth == 0:
                    announced.__enter__()
                self.depth += 1

        def on_end(self, event: Any) -> None:
            if _function(event) in kernels:
                self.depth -= 1
                if self.depth == 0:
                    announced.__exit__(None, None, None)

    event.register("numba:compile", Listener())
    return kernels


def _function(event: Any) -> Any:
    """The Python function that is being compiled."""
    return getattr((event.data or {}).get("dispatcher"), "py_func", None)


def _unkept() -> str:
    """Why nothing is kept, and how to mend it."""
    try:
        where = cache_place(_SUB)
    except InputError as error:
        return str(error)
    return f"{where} isn't a folder that you alone may write; chmod 700, or set LMFST_CACHE"
