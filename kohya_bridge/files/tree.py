"""Everything below one folder: looked at, read, written and taken away by names that can't lead out of it.

Where a name leads is proven by `places.py`; what is said of a file that can't be used stands in `refusals.py`.
Standard library only.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from .. import disk, json_text
from ..errors import UnusableFile
from ..reasons import in_json
from .places import look, place_in, plain_in
from .refusals import DAMAGED, REMOVE, no_folder, raise_told, refuse_odd, unusable

RECORD_BYTES = 64 << 20
"""More than any record of ours holds: plans, identities, captions, manifests."""


@dataclass(frozen=True)
class Tree:
    """Everything below one folder. Files are named by their path, absolute or relative to `dir`.

    Every method raises UnusableFile, which names the file and says what to do. Reading what is not there raises
    FileNotFoundError.
    """

    dir: Path

    # --- looking -----------------------------------------------------------------------------------------------------

    def path(self, file: Path | str) -> Path:
        """Where `file` lies: below `dir` by its name, or by another name of `dir` (a link to a larger disk)."""
        return place_in(self.dir, file)

    def is_file(self, file: Path | str) -> bool:
        """Whether a plain file is there, or a link to one of this tree."""
        try:
            self.plain(file)
        except OSError:
            return False
        return True

    def is_folder(self, folder: Path | str) -> bool:
        """Whether a real folder is there: no link, and none on the way."""
        try:
            found = look(self.dir, self.path(folder))
        except OSError:
            return False
        return found is not None and disk.is_folder(found)

    def plain(self, file: Path | str) -> Path:
        """The path of a plain file that is there, for libraries that open it by name. Links that stay inside are resolved."""
        return plain_in(self.dir, file)

    def free(self, file: Path | str) -> Path:
        """The path of a file that a library may write or lock by name: absent or plain, no link. Its folder is made."""
        full = self.path(file)
        self.make(full.parent)
        found = look(self.dir, full)
        if found is not None:
            refuse_odd(full, found)
        return full

    def entries(self, folder: Path | str = ".") -> list[Path]:
        """What lies in a folder, in name order. Nothing where there is no folder, or a link to one."""
        full = self.path(folder)
        if not self.is_folder(full):
            return []
        try:
            return sorted(full.iterdir())
        except OSError as error:
            raise_told(full, error, "could not be listed")

    # --- reading -----------------------------------------------------------------------------------------------------

    def open(self, file: Path | str) -> BinaryIO:
        """A plain file, open for reading."""
        return os.fdopen(_open(self.plain(file), os.O_RDONLY), "rb")

    def read_bytes(self, file: Path | str, *, most: int = RECORD_BYTES) -> bytes:
        """The content of a file of at most `most` bytes."""
        with self.open(file) as stream:
            if os.fstat(stream.fileno()).st_size > most:
                raise unusable(self.path(file), f"is larger than {most >> 10} KiB", "Move it away.")
            return stream.read()

    def read_text(self, file: Path | str, *, most: int = RECORD_BYTES, errors: str = "strict") -> str:
        """UTF-8 text of at most `most` bytes, lines ended by `\\n`. `errors` is `bytes.decode`'s."""
        try:
            text = self.read_bytes(file, most=most).decode("utf-8", errors)
        except UnicodeDecodeError as error:
            raise unusable(self.path(file), f"is not UTF-8 text (byte {error.start})", DAMAGED) from None
        return text.replace("\r\n", "\n")

    def read_json(self, file: Path | str, *, most: int = RECORD_BYTES) -> Any:
        """A JSON value; one that is nested too deep is as unusable as a torn one."""
        try:
            return json_text.read(self.read_text(file, most=most))
        except UnusableFile:
            raise
        except ValueError as error:
            said = in_json(error)
            raise unusable(
                self.path(file), f"is not valid JSON{said.where}: {said.reason}", DAMAGED
            ) from None

    # --- writing -----------------------------------------------------------------------------------------------------

    def make(self, folder: Path | str = ".") -> Path:
        """A real folder, made where it is missing with all above it."""
        full = self.path(folder)
        try:
            self.dir.mkdir(parents=True, exist_ok=True)
            found = look(self.dir, full, make=True)
        except UnusableFile:
            raise
        except OSError as error:
            raise_told(full, error, "could not be made")
        if found is not None and not disk.is_folder(found) and full != self.dir:
            raise no_folder(full, found)
        return full

    @contextmanager
    def writing(self, file: Path | str, *, durable: bool = True) -> Iterator[BinaryIO]:
        """A stream that becomes `file` when the block ends without an error; until then the old content stands.

        What is not `durable` may be empty after a power cut: right for a cache, whose entries are checked.
        """
        full = self.path(file)
        temporary = full.with_name(f".{full.name[:100]}.{os.urandom(6).hex()}.tmp")
        try:
            with self.create(temporary) as stream:
                yield stream
                stream.flush()
                if durable:
                    os.fsync(stream.fileno())
            disk.replace(temporary, full)
        except UnusableFile:
            raise
        except OSError as error:
            raise_told(full, error, "could not be written")
        finally:
            with suppress(OSError):
                disk.delete(temporary)

    def write(self, file: Path | str, data: str | bytes) -> Path:
        """Replace `file` by `data` so that a reader sees the old or the new content, never a part. Returns its path."""
        with self.writing(file) as stream:
            stream.write(data.encode("utf-8") if isinstance(data, str) else data)
        return self.path(file)

    def create(self, file: Path | str) -> BinaryIO:
        """A new, empty file in place of whatever lies there: a link is taken away, what it points to stays."""
        full = self.path(file)
        self.make(full.parent)
        self.remove(full)
        return os.fdopen(_open(full, os.O_WRONLY | os.O_CREAT | os.O_EXCL), "wb")

    def append(self, file: Path | str) -> io.FileIO:
        """A plain file, made if it is missing, open for reading and for appending, without a buffer."""
        return io.FileIO(_open(self.free(file), os.O_RDWR | os.O_APPEND | os.O_CREAT), "ab+")

    def append_line(self, file: Path | str, line: str) -> None:
        """Add a line at the end, on the disk itself when this returns. A last line that a killed writer left torn is ended
        before it, so that it spoils no other. Raises UnusableFile."""
        try:
            with self.append(file) as stream:
                torn = b""
                if stream.seek(0, os.SEEK_END):
                    stream.seek(-1, os.SEEK_END)
                    torn = b"" if stream.read(1) == b"\n" else b"\n"
                stream.write(torn + line.encode("utf-8") + b"\n")
                os.fsync(stream.fileno())
        except UnusableFile:
            raise
        except OSError as error:
            raise_told(self.path(file), error, "could not be written")

    # --- taking away -------------------------------------------------------------------------------------------------

    def remove(self, file: Path | str) -> bool:
        """Delete a file, or a link and not what it points to. False when nothing is there."""
        full = self.path(file)
        found = look(self.dir, full)
        if found is None:
            return False
        if disk.is_folder(found):
            raise unusable(full, "is a folder where a file belongs", REMOVE)
        try:
            disk.delete(full)
        except FileNotFoundError:
            return False
        except OSError as error:
            raise_told(full, error, "could not be deleted")
        return True

    def clear(self, folder: Path | str) -> bool:
        """Delete a folder with all that is in it, or a link and not what it points to. False when nothing is there."""
        full = self.path(folder)
        if full == self.dir:
            raise ValueError("a tree does not clear itself")
        found = look(self.dir, full)
        if found is None or not disk.is_folder(found):
            return self.remove(full)
        try:
            disk.delete_folder(full)
        except OSError as error:
            raise_told(full, error, "could not be deleted")
        return True

    def move(self, source: Path | str, target: Path | str) -> Path:
        """Give a file or folder of this tree another name in it, in place of a file that has it. A link is moved as such."""
        start, end = self.path(source), self.path(target)
        if look(self.dir, start) is None:
            raise FileNotFoundError(2, os.strerror(2), str(start))
        self.make(end.parent)
        try:
            disk.replace(start, end)
        except OSError as error:
            raise_told(end, error, "could not be written")
        return end


def _open(full: Path, flags: int) -> int:
    try:
        return disk.open_plain(full, flags)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise_told(full, error, "could not be opened")
