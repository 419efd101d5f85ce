"""Where the socket of the process that workers are forked from lies: its path must be short."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from multiprocessing import util

from isoflop.errors import IsoflopError

# sun_path has 108 bytes on Linux and 104 elsewhere, the last of them 0 (unix(7)). multiprocessing adds to the temporary
# folder /pymp-xxxxxxxx/listener-xxxxxxxx.
MOST_BYTES = 103
ADDED_BYTES = len("/pymp-12345678/listener-12345678")
SHORT_FOLDERS = ("/tmp", "/var/tmp", "/dev/shm")  # noqa: S108 - a folder of this process's own is made there


def make_room_for_socket() -> None:
    """Have multiprocessing put its sockets into a folder with a short path where that of TMPDIR is too long.

    Raises:
        IsoflopError: no folder can be made, there or in a short one.
    """
    try:
        folder = tempfile.gettempdir()
        if len(os.fsencode(folder)) + ADDED_BYTES <= MOST_BYTES:
            util.get_temp_dir()
            return
    except OSError as error:
        raise IsoflopError(
            f"There is no temporary folder to be had: {error.strerror}.",
            hint="Set TMPDIR to a folder that can be written and has room.",
        ) from None
    for short in SHORT_FOLDERS:
        with contextlib.suppress(OSError), _temporary_folder(short):
            util.get_temp_dir()  # the first call decides
            return
    raise IsoflopError(
        f"The path of the temporary folder, {folder!r}, is too long for a socket in it.",
        hint=f"Set TMPDIR to a folder whose path has no more than {MOST_BYTES - ADDED_BYTES} characters.",
    )


@contextlib.contextmanager
def _temporary_folder(folder: str) -> Iterator[None]:
    before, tempfile.tempdir = tempfile.tempdir, folder
    try:
        yield
    finally:
        tempfile.tempdir = before
