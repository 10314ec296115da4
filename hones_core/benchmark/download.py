"""Fetching the official archives: resumable, checked, unpacked inside one folder.

Checksums come from the list of archives where the publisher's are known. Otherwise the digest and
size of the first download are written to a lock file, so that a later download of other bytes is
noticed; the first one is trusted.
"""

import hashlib
import json
import shutil
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from hones_core.atomic import write_text, written_atomically
from hones_core.benchmark.errors import BenchmarkError
from hones_core.benchmark.file_names import unsafe_name

BLOCK_BYTES = 1 << 20
TIMEOUT_S = 60
LOCK = "downloads.lock.json"
PARTIAL_CONTENT, RANGE_NOT_SATISFIABLE = 206, 416


@dataclass(frozen=True)
class Archive:
    """An archive to fetch.

    checksum  "algorithm:hex digest" as published, or "" where none is known
    into      folder for its files, relative to the target; "" if the archive has folders itself
    keep      names of the members to unpack; all of them if empty
    """

    url: str
    checksum: str
    into: str
    keep: tuple[str, ...]

    @property
    def name(self) -> str:
        """The archive's file name."""
        return self.url.rpartition("/")[2]


def download_all(
    archives: Iterable[Archive], folder: str | Path, say: Callable[[str], None]
) -> None:
    """Fetch and unpack `archives` under `folder`; what is already there and right is kept.

    Archives lie in `folder/downloads` with the lock file. An interrupted download goes on where it
    stopped. Raises BenchmarkError for a wrong checksum, a failed transfer, or a member whose name
    leaves the folder.
    """
    folder = Path(folder)
    store = folder / "downloads"
    store.mkdir(parents=True, exist_ok=True)
    for archive in archives:
        target = store / archive.name
        if not target.exists():
            say(f"fetching {archive.url}")
            fetch(archive.url, target)
        _verify(archive, target)
        unpack(target, folder / archive.into, archive.keep)
        say(f"{archive.name}: checked and unpacked")


def fetch(url: str, target: Path) -> None:
    """Download `url` to `target`, going on with `target`.partial if that is there."""
    partial = target.with_name(target.name + ".partial")
    done = partial.stat().st_size if partial.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={done}-"} if done else {})
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:
            resumed = answer.status == PARTIAL_CONTENT
            expected = int(answer.headers.get("Content-Length") or 0)
            with partial.open("ab" if resumed else "wb") as file:
                shutil.copyfileobj(answer, file, BLOCK_BYTES)
            total = expected + (done if resumed else 0)
    except urllib.error.HTTPError as error:
        if error.code != RANGE_NOT_SATISFIABLE:  # else the whole file was there already
            raise BenchmarkError(f"{url}: {error}; try again later") from error
        total = done
    except OSError as error:
        raise BenchmarkError(f"{url}: {error}; run again to go on from here") from error
    size = partial.stat().st_size
    if total and size != total:
        raise BenchmarkError(
            f"{url}: {size} of {total} bytes arrived; run again to go on from here"
        )
    partial.replace(target)


def _verify(archive: Archive, path: Path) -> None:
    """Compare with the published checksum, else with the lock file, else write the lock file."""
    algorithm, _, expected = (archive.checksum or "sha256:").partition(":")
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, algorithm).hexdigest()
    lock_path = path.with_name(LOCK)
    lock = json.loads(lock_path.read_text()) if lock_path.exists() else {}
    entry = {"bytes": path.stat().st_size, algorithm: digest}
    known = expected or lock.get(archive.name, entry).get(algorithm)
    if digest != known:
        raise BenchmarkError(
            f"{path} has the {algorithm} {digest}, not {known}; delete it and run again, or, if "
            f"the publisher has replaced it, its line in {lock_path}"
        )
    lock[archive.name] = entry
    write_text(lock_path, json.dumps(lock, indent=2, sort_keys=True) + "\n")


def unpack(path: Path, folder: Path, keep: Iterable[str] = ()) -> None:
    """Unpack members (those in `keep`, or all) into `folder`; files of the right size are kept."""
    wanted = set(keep)
    try:
        with zipfile.ZipFile(path) as archive:
            members = [member for member in archive.infolist() if not member.is_dir()]
            missing = wanted - {member.filename for member in members}
            if missing:
                raise BenchmarkError(f"{path} does not hold {', '.join(sorted(missing))}")
            for member in members:
                if not wanted or member.filename in wanted:
                    _extract(archive, member, folder, path)
    except zipfile.BadZipFile as error:
        raise BenchmarkError(
            f"{path} is no whole archive ({error}); delete it and run again"
        ) from (error)


def _extract(archive: zipfile.ZipFile, member: zipfile.ZipInfo, folder: Path, path: Path) -> None:
    problem = unsafe_name(member.filename)
    if problem:
        raise BenchmarkError(f"{path}: the member {member.filename!r} {problem}")
    target = folder / member.filename
    if target.exists() and target.stat().st_size == member.file_size:
        return
    with (
        written_atomically(target) as temporary,
        archive.open(member) as source,
        temporary.open("wb") as file,
    ):
        shutil.copyfileobj(source, file, BLOCK_BYTES)
