"""A look at an HDF5 file from a child process, because a malformed one can crash the library that reads it.

`check(path)` runs `python -m ornstein.datasets.hdf5_check path` once for each file, which opens it, walks all its objects
and reads them; afterwards the file is read normally. The child imports h5py and nothing else of weight.
"""

import signal
import sys
from pathlib import Path

SIGNATURE = b"\x89HDF\r\n\x1a\n"
SLAB = 32 << 20
"""Bytes read at a time."""
CHUNK = 1 << 30
"""A chunk above this many bytes is refused: it would be allocated whole."""
INFLATION = 1000
"""A file that declares more than a GiB and more than this many times its own size is refused."""

_checked: set[tuple] = set()


def check(path: Path, unread: tuple[str, ...] = ()) -> None:
    """Passes where the file is HDF5 that can be read to its end.

    Args:
        path: the file.
        unread: datasets whose values are not looked at, because nobody will read them.

    Raises:
        InputError: naming the file and what is wrong with it.
    """
    import subprocess

    from ornstein.core.errors import InputError

    hint = "check that the file is whole and is HDF5; copy or export it again"
    try:
        stat = path.stat()
        with path.open("rb") as file:
            # The signature stands at 0 or, after a user's block, at 512, 1024, 2048 ...
            found = any(file.seek(at) == at and file.read(8) == SIGNATURE for at in (0, *(512 << i for i in range(10))))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})", hint) from error
    if stat.st_size == 0:
        raise InputError(f"{path}: is empty", hint)
    if not found:
        raise InputError(f"{path}: is not an HDF5 file", hint)
    key = (str(path.resolve()), stat.st_mtime_ns, stat.st_size, unread)
    if key in _checked:
        return
    try:
        # -P: the working directory is no place to import from.
        child = subprocess.run(
            [sys.executable, "-P", "-m", __name__, str(path.resolve()), *unread],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=10 * cpu_seconds(stat.st_size),
        )
    except subprocess.TimeoutExpired as error:
        raise InputError(f"{path}: a damaged HDF5 file (reading it does not end)", hint) from error
    if hasattr(signal, "SIGXCPU") and child.returncode == -signal.SIGXCPU:
        raise InputError(f"{path}: a damaged HDF5 file (reading it does not end)", hint)
    if child.returncode == 3:
        raise InputError(f"{path}: a damaged HDF5 file ({child.stdout.decode('utf-8', 'replace').strip()})", hint)
    if child.returncode != 0:
        raise InputError(f"{path}: a damaged HDF5 file (reading it ends with status {child.returncode})", hint)
    _checked.add(key)


def cpu_seconds(size: int) -> int:
    """How much computing the reading of a file of `size` bytes may take; on a busy machine it may take ten times as long."""
    return int(60 + size / 1e7)


def walk(path: str, unread: tuple[str, ...] = ()) -> None:
    """Reads every object and attribute of a file, except the values of the datasets `unread`.

    Raises:
        Exception: of any kind, where something cannot be read.
    """
    import h5py

    size = Path(path).stat().st_size
    seen = set()

    def attributes(thing: h5py.HLObject) -> None:
        for name in thing.attrs:
            thing.attrs[name]

    with h5py.File(path, "r") as file:
        attributes(file)
        groups: list[h5py.Group] = [file]
        while groups:
            group = groups.pop()
            for name in group:
                link = group.get(name, getlink=True)
                if isinstance(link, h5py.ExternalLink):
                    raise ValueError(f"{name} is a link to another file")
                if isinstance(link, h5py.SoftLink):
                    continue  # to nothing, or to an object that has its own place in this file
                thing = group[name]
                address = h5py.h5o.get_info(thing.id).addr
                if address in seen:
                    continue
                seen.add(address)
                attributes(thing)
                if isinstance(thing, h5py.Group):
                    groups.append(thing)
                elif isinstance(thing, h5py.Dataset) and thing.name.lstrip("/") not in unread:
                    _read(thing, size)


def _read(dataset, size: int) -> None:  # an h5py.Dataset, which is not imported in the parent
    if dataset.is_virtual or dataset.external:
        raise ValueError(f"{dataset.name} stores its values in other files")
    if dataset.shape is None:
        return
    if dataset.nbytes > max(1 << 30, INFLATION * size):
        raise ValueError(f"{dataset.name} declares {dataset.nbytes} bytes in a file of {size}")
    if dataset.chunks is not None:
        chunk = dataset.dtype.itemsize
        for n in dataset.chunks:
            chunk *= n
        if chunk > CHUNK:
            raise ValueError(f"{dataset.name} has chunks of {chunk} bytes")
    if dataset.shape == ():
        dataset[()]
        return
    if dataset.nbytes == 0:
        return
    rows = max(1, SLAB // max(1, dataset.nbytes // dataset.shape[0]))
    for start in range(0, dataset.shape[0], rows):
        dataset[start : start + rows]


def main(path: str, *unread: str) -> int:
    """The child: exit status 0 for a sound file; 3 with one line on standard output for a damaged one."""
    try:
        import resource

        limit = cpu_seconds(Path(path).stat().st_size)
        resource.setrlimit(resource.RLIMIT_CPU, (limit, limit + 5))
    except (ImportError, ValueError, OSError):
        pass  # no such limit on this system: the parent's clock remains
    try:
        walk(path, unread)
    except BaseException as error:  # anything at all: the parent wants one line
        line = (str(error).strip().splitlines() or [type(error).__name__])[0]
        print(line[:200])
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
