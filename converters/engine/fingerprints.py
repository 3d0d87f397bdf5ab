"""What a file was at one moment: enough to see, without reading it again, that it is another at a later one."""

import os
from dataclasses import dataclass


@dataclass(frozen=True)
class Fingerprint:
    """A file's number in its filesystem, size in bytes, and the time of its last change in nanoseconds."""

    inode: int
    num_bytes: int
    modified: int

    def change_to(self, other: "Fingerprint") -> str | None:
        """How a later fingerprint of the same name differs; `None` where it does not."""
        if self.inode != other.inode:
            return f"was replaced by another file, of {other.num_bytes:,} bytes (before: {self.num_bytes:,})"
        if self.num_bytes != other.num_bytes:
            return f"has {other.num_bytes:,} bytes, and had {self.num_bytes:,}"
        return "was written to" if self.modified != other.modified else None


def fingerprint_of(status: os.stat_result) -> Fingerprint:
    return Fingerprint(status.st_ino, status.st_size, status.st_mtime_ns)
