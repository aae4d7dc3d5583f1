import errno
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import threading

import pytest

from pairstill.core.errors import BusyError, StorageError
from pairstill.storage import locks
from pairstill.storage.locks import LOCK, exclusive, hold, is_abandoned, to_hand_over

HOLDER = """
import sys, time
from pathlib import Path
from pairstill.storage.locks import hold

lock = hold(Path(sys.argv[1]))
print("held", flush=True)
time.sleep(60)
"""


@pytest.fixture
def other(tmp_path):
    """Another process that holds the lock of `tmp_path`."""
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def is_free(folder):
    """Whether a process that knows nothing of this one's locks could take the lock."""
    with (folder / LOCK).open("r+") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def test_a_second_process_is_told_who_is_at_work(tmp_path, other):
    with pytest.raises(BusyError, match=rf"{tmp_path} is in use by process {other.pid} on {socket.gethostname()}"):
        hold(tmp_path)


def test_a_killed_process_leaves_no_lock(tmp_path, other):
    other.send_signal(signal.SIGKILL)
    other.wait()
    with exclusive(tmp_path):
        assert json.loads((tmp_path / LOCK).read_text())["pid"] == os.getpid()


def test_waiting_ends_with_the_other_process(tmp_path, other):
    told = []

    def on_wait(holder):
        told.append(holder)
        threading.Timer(0.05, other.kill).start()

    with exclusive(tmp_path, on_wait):
        assert other.wait() == -signal.SIGKILL
        assert not is_free(tmp_path)
    assert len(told) == 1 and f"process {other.pid}" in told[0]


def test_the_lock_ends_with_the_block_also_by_an_error(tmp_path):
    with pytest.raises(KeyError), exclusive(tmp_path / "new" / "folder"):
        assert not is_free(tmp_path / "new" / "folder")
        raise KeyError
    assert is_free(tmp_path / "new" / "folder")


def test_one_process_may_take_it_again_and_holds_it_until_the_last_lets_go(tmp_path):
    first = hold(tmp_path)
    with exclusive(tmp_path / "." / ".." / tmp_path.name):
        pass
    second = hold(tmp_path)
    assert second is first
    del first
    assert not is_free(tmp_path)
    del second
    assert is_free(tmp_path)


def test_a_folder_is_abandoned_when_its_process_has_ended(tmp_path, other):
    assert not is_abandoned(tmp_path / "absent")
    assert not is_abandoned(tmp_path)
    other.kill()
    other.wait()
    assert is_abandoned(tmp_path)
    (tmp_path / LOCK).write_text("")
    assert not is_abandoned(tmp_path), "its process may just be about to take the lock"


def test_readers_are_not_kept_out(tmp_path, other):
    (tmp_path / "a").write_text("b")
    assert (tmp_path / "a").read_text() == "b"
    assert json.loads((tmp_path / LOCK).read_text())["pid"] == other.pid


@pytest.mark.parametrize("content", ["", "{", "[]", '{"pid": 1}', "null"])
def test_a_holder_that_has_not_signed(tmp_path, other, content):
    (tmp_path / LOCK).write_text(content)
    with pytest.raises(BusyError, match="in use by another process; wait"):
        hold(tmp_path)


@pytest.mark.parametrize("code", [errno.EROFS, errno.EACCES, errno.ENOSPC])
def test_a_folder_that_cannot_be_written_to(tmp_path, monkeypatch, code):
    def refuse(*_, **__):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(locks.os, "open", refuse)
    with pytest.raises(StorageError, match=rf"\.lock cannot be written \({os.strerror(code)}\)"):
        hold(tmp_path)


def test_a_full_disk_while_signing_lets_go_again(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(locks.os, "pwrite", refuse)
    with pytest.raises(StorageError, match="No space left"):
        hold(tmp_path)
    assert is_free(tmp_path)


def test_a_file_system_without_locks_is_said_so(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(locks.fcntl, "flock", refuse)
    with pytest.warns(UserWarning, match="file system without locks .*only one process"), exclusive(tmp_path):
        pass


def test_a_lock_that_is_a_link_is_refused(tmp_path):
    (tmp_path / "mine.txt").write_text("the user's own")
    (tmp_path / LOCK).symlink_to("mine.txt")
    with pytest.raises(StorageError, match=r"\.lock cannot be written"):
        hold(tmp_path)
    assert not is_abandoned(tmp_path)
    assert (tmp_path / "mine.txt").read_text() == "the user's own"


def test_a_lock_that_is_handed_over_is_the_childs_until_it_ends(tmp_path):
    with to_hand_over(tmp_path) as descriptor:
        child = subprocess.Popen(["cat"], stdin=subprocess.PIPE, pass_fds=(descriptor,))
    assert not is_free(tmp_path)
    with pytest.raises(BusyError), to_hand_over(tmp_path):
        pass
    child.communicate()
    assert is_free(tmp_path)
    with to_hand_over(tmp_path):
        assert not is_free(tmp_path)
    assert is_free(tmp_path)
