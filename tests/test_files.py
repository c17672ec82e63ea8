"""Files of a workspace: a folder that somebody passed on is data, and reaches no further than itself."""

from __future__ import annotations

import errno
import functools
import os
import socket
import stat
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from kohya_bridge import disk
from kohya_bridge.errors import StorageError, UnusableFile
from kohya_bridge.files import Tree, write_atomically

KEPT = b"what lies outside stays as it is"


@pytest.fixture
def outside(tmp_path) -> Path:
    """A folder beside the tree with a file in it."""
    folder = tmp_path / "outside"
    (folder / "below").mkdir(parents=True)
    (folder / "precious").write_bytes(KEPT)
    (folder / "below" / "precious").write_bytes(KEPT)
    return folder


@pytest.fixture
def tree(tmp_path) -> Tree:
    (tmp_path / "tree" / "sub").mkdir(parents=True)
    return Tree(tmp_path / "tree")


def link_to_a_file(place: Path, outside: Path) -> None:
    place.symlink_to(outside / "precious")


def link_to_a_folder(place: Path, outside: Path) -> None:
    place.symlink_to(outside, target_is_directory=True)


def link_by_a_relative_name(place: Path, outside: Path) -> None:
    place.symlink_to(os.path.relpath(outside / "precious", place.parent))


def link_to_nowhere(place: Path, outside: Path) -> None:
    place.symlink_to(outside / "new")


def link_to_itself(place: Path, outside: Path) -> None:
    place.symlink_to(place.name)


def link_to_a_device(place: Path, outside: Path) -> None:
    place.symlink_to("/dev/zero")


def pipe(place: Path, outside: Path) -> None:
    os.mkfifo(place)


def listening_socket(place: Path, outside: Path) -> None:
    here = os.getcwd()
    os.chdir(place.parent)  # the name of a socket is short
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(place.name)
    finally:
        os.chdir(here)


def device(place: Path, outside: Path) -> None:
    try:
        os.mknod(place, 0o666 | stat.S_IFCHR, os.makedev(1, 5))
    except PermissionError:
        pytest.skip("only root may make a device")


def folder(place: Path, outside: Path) -> None:
    place.mkdir()


def or_skipped(plant: Callable[[Path, Path], None]) -> Callable[[Path, Path], None]:
    """The same, and the test is skipped where the system has no such thing, or asks for a privilege."""

    @functools.wraps(plant)
    def planted(place: Path, outside: Path) -> None:
        try:
            plant(place, outside)
        except (AttributeError, NotImplementedError) as error:
            pytest.skip(f"this system makes no {plant.__name__}: {error}")
        except OSError as error:
            if os.name == "posix":
                raise
            pytest.skip(f"this system makes no {plant.__name__} without a privilege: {error}")

    return planted


LINKS = tuple(
    or_skipped(each)
    for each in (
        link_to_a_file,
        link_to_a_folder,
        link_by_a_relative_name,
        link_to_nowhere,
        link_to_itself,
        link_to_a_device,
    )
)
ODD = (*LINKS, *(or_skipped(each) for each in (pipe, listening_socket, device)))
# Who may pass a file on may pass on a hidden one, and one whose folder is not what it seems.
NAMES = ("x.json", "sub/x.json", ".x.json.tmp", "sub/.writing.part")


def written(tree: Tree, name: str) -> None:
    tree.write(name, "new")


def created(tree: Tree, name: str) -> None:
    with tree.create(name) as stream:
        stream.write(b"new")


def appended(tree: Tree, name: str) -> None:
    with tree.append(name) as stream:
        stream.write(b"new")


WRITERS = (written, created, appended, lambda tree, name: tree.free(name), lambda tree, name: tree.make(name))
READERS = (Tree.read_bytes, Tree.read_text, Tree.read_json, Tree.plain, Tree.open, Tree.append)
TAKERS = (Tree.remove, Tree.clear)


def untouched(outside: Path) -> bool:
    """Nothing came, went or changed there."""
    found = {each.relative_to(outside).as_posix() for each in outside.rglob("*")}
    files = [outside / "precious", outside / "below" / "precious"]
    return found == {"precious", "below", "below/precious"} and all(
        each.read_bytes() == KEPT for each in files
    )


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("plant", ODD)
@pytest.mark.parametrize("read", READERS)
def test_what_is_no_plain_file_is_neither_read_nor_appended_to(tree, outside, plant, name, read):
    plant(tree.dir / name, outside)
    with pytest.raises(UnusableFile, match=Path(name).name) as told:
        read(tree, name)
    assert told.value.fix
    assert untouched(outside)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("plant", ODD)
@pytest.mark.parametrize("write", WRITERS)
def test_writing_changes_nothing_beyond_the_tree(tree, outside, plant, name, write):
    plant(tree.dir / name, outside)
    try:
        write(tree, name)
    except UnusableFile:
        assert untouched(outside)
        return
    assert untouched(outside)
    assert (tree.dir / name).is_file() and not (tree.dir / name).is_symlink()
    assert tree.read_bytes(name) == b"new"


@pytest.mark.parametrize(
    "plant",
    [
        each
        for each in ODD
        if each.__name__ in ("link_to_a_folder", "link_to_a_file", "link_to_nowhere", "pipe")
    ],
)
@pytest.mark.parametrize("act", (*READERS, *WRITERS, *TAKERS))
def test_a_folder_on_the_way_that_is_none_is_not_entered(tree, outside, plant, act):
    plant(tree.dir / "states", outside)
    for name in ("states/precious", "states/below/precious"):
        with pytest.raises(UnusableFile):
            act(tree, name)
    assert untouched(outside)
    assert tree.entries("states") == []


@pytest.mark.parametrize("plant", ODD)
@pytest.mark.parametrize("take", TAKERS)
def test_taking_away_takes_the_link_and_not_its_target(tree, outside, plant, take):
    plant(tree.dir / "x", outside)
    assert take(tree, "x") is True
    assert not os.path.lexists(tree.dir / "x")
    assert untouched(outside)
    assert take(tree, "x") is False


@pytest.mark.parametrize("plant", ODD)
def test_clearing_a_folder_descends_through_no_link(tree, outside, plant):
    (tree.dir / "staging" / "train").mkdir(parents=True)
    plant(tree.dir / "staging" / "train" / "x", outside)
    plant(tree.dir / "staging" / "y", outside)
    assert tree.clear("staging")
    assert not (tree.dir / "staging").exists()
    assert untouched(outside)


@pytest.mark.parametrize("plant", ODD)
def test_moving_moves_a_link_as_a_link(tree, outside, plant):
    plant(tree.dir / "x", outside)
    tree.move("x", "sub/y")
    assert os.path.lexists(tree.dir / "sub" / "y")
    plant(tree.dir / "z", outside)
    if plant is not folder:
        tree.write("w", "new")
        tree.move("w", "z")
        assert tree.read_text("z") == "new"
    assert untouched(outside)


@pytest.mark.parametrize(
    "name", ("../outside/precious", "sub/../../outside/precious", "/etc/hostname", "a\0b")
)
@pytest.mark.parametrize("act", (*READERS, *WRITERS, *TAKERS, Tree.entries))
def test_a_name_that_leads_out_is_refused(tree, outside, name, act):
    with pytest.raises(UnusableFile, match="leads out"):
        act(tree, name)
    assert untouched(outside)


def test_a_pipe_that_somebody_writes_to_is_not_read(tree, outside):
    """Opening it would succeed then, and reading would wait for ever."""
    pipe(tree.dir / "events.jsonl", outside)
    writer = os.open(tree.dir / "events.jsonl", os.O_RDWR)
    with pytest.raises(UnusableFile, match="pipe"):
        tree.read_bytes("events.jsonl")
    os.close(writer)


def test_a_link_to_another_place_of_the_same_folder_can_be_read_but_not_written_through(tree):
    tree.write("checkpoints/a.safetensors", "weights")
    (tree.dir / "best.safetensors").symlink_to("checkpoints/a.safetensors")
    assert tree.read_text("best.safetensors") == "weights"
    assert tree.plain("best.safetensors") == (tree.dir / "checkpoints" / "a.safetensors").resolve()
    with pytest.raises(UnusableFile, match="link"):
        tree.append("best.safetensors")
    tree.write("best.safetensors", "other")
    assert tree.read_text("checkpoints/a.safetensors") == "weights"


def test_the_folder_itself_and_all_above_it_may_be_links_to_a_larger_disk(tmp_path, tree):
    (tmp_path / "short").symlink_to(tree.dir, target_is_directory=True)
    through = Tree(tmp_path / "short")
    through.write("sub/deep/x.json", "[1]")
    assert through.read_json("sub/deep/x.json") == [1]
    assert tree.read_json("sub/deep/x.json") == [1]
    assert [each.name for each in through.entries()] == ["sub"]
    # A child is told the folder by another of its names than the one that stands in a configuration.
    assert through.read_json(tree.dir / "sub" / "deep" / "x.json") == [1]
    assert tree.read_json(through.dir / "sub" / "deep" / "x.json") == [1]
    assert through.clear("sub")


def test_what_is_not_there_is_said_to_be_not_there(tree):
    for read in (Tree.read_bytes, Tree.read_json, Tree.open, Tree.plain):
        for name in ("x", "nowhere/x"):
            with pytest.raises(FileNotFoundError):
                read(tree, name)
    assert tree.entries("nowhere") == [] and not tree.is_file("x") and not tree.is_folder("nowhere")
    assert Tree(tree.dir / "nowhere").entries() == []
    assert tree.remove("x") is False and tree.clear("nowhere/x") is False


def test_reading_is_bounded(tree):
    with open(tree.dir / "x.json", "wb") as stream:
        stream.truncate(1 << 40)  # a hole of a terabyte costs its sender nothing
    with pytest.raises(UnusableFile, match="larger than 64"):
        tree.read_bytes("x.json", most=1 << 16)


@pytest.mark.parametrize("content", (b"[" * 100_000, b"{", b"", b"\xff\xfe", b"nul"))
def test_a_damaged_record_is_named_with_what_to_do(tree, content):
    tree.write("run.json", content)
    with pytest.raises(UnusableFile, match=r"run\.json") as told:
        tree.read_json("run.json")
    assert "bring back" in told.value.fix


def test_an_unusable_file_is_passed_over_by_those_who_pass_over_unreadable_ones(tree, outside):
    link_to_a_file(tree.dir / "x", outside)
    for kind in (OSError, ValueError, StorageError):
        with pytest.raises(kind):
            tree.read_json("x")


def test_a_writer_that_fails_leaves_the_old_content_and_nothing_beside_it(tree):
    tree.write("x", "old")
    with pytest.raises(ZeroDivisionError), tree.writing("x") as stream:
        stream.write(b"half")
        1 / 0  # noqa: B018
    assert tree.read_text("x") == "old"
    assert sorted(each.name for each in tree.entries()) == ["sub", "x"]


def test_a_full_disk_is_told_and_known_as_one(tree, monkeypatch):
    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    tree.write("x", "old")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match="the disk is full") as told:
        tree.write("x", "new")
    assert isinstance(told.value.__cause__, OSError) and told.value.__cause__.errno == errno.ENOSPC
    assert tree.read_text("x") == "old"


@pytest.mark.skipif(os.name == "nt", reason="Windows knows no umask")
@pytest.mark.parametrize("umask, mode", ((0o022, 0o644), (0o077, 0o600), (0o002, 0o664)))
def test_files_get_the_permissions_that_the_persons_umask_leaves(tree, umask, mode):
    before = os.umask(umask)
    try:
        write_atomically(tree.dir / "sub" / "x", "x")
        created(tree, "y")
        appended(tree, "z")
    finally:
        os.umask(before)
    for name in ("sub/x", "y", "z"):
        assert stat.S_IMODE((tree.dir / name).stat().st_mode) == mode, name


def test_a_reader_of_a_file_that_is_replaced_all_the_time_sees_whole_contents(tree):
    tree.write("x", "0" * 5000)
    over = threading.Event()

    def keep_writing() -> None:
        for digit in "123456789" * 20:
            tree.write("x", digit * 5000)
        over.set()

    writer = threading.Thread(target=keep_writing)
    writer.start()
    while not over.is_set():
        assert len(set(tree.read_text("x"))) == 1
    writer.join()


class Refusing:
    """A call of Windows that refuses, as long as somebody has the file open, for the first `times` times."""

    def __init__(self, real: Callable[..., object], times: int):
        self.real, self.times, self.calls = real, times, 0

    def __call__(self, *arguments: object, **named: object) -> object:
        self.calls += 1
        if self.calls <= self.times:
            refused = PermissionError(errno.EACCES, "The process cannot access the file")
            vars(refused)["winerror"] = 32  # which only Windows' Python sets by itself
            raise refused
        return self.real(*arguments, **named)


@pytest.mark.parametrize("name", ("replace", "unlink"))
def test_on_windows_a_file_that_is_read_at_that_moment_is_asked_for_again(tree, monkeypatch, name):
    tree.write("x", "old")
    refusing = Refusing(getattr(os, name), times=3)
    monkeypatch.setattr(os, name, refusing)
    monkeypatch.setattr(disk, "on_windows", True)
    if name == "replace":
        tree.write("x", "new")
        assert tree.read_text("x") == "new"
    else:
        assert tree.remove("x")
    assert refusing.calls == 4


def test_on_windows_patience_has_an_end_and_the_error_names_the_file(tree, monkeypatch):
    tree.write("x", "old")
    monkeypatch.setattr(disk, "on_windows", True)
    monkeypatch.setattr(disk, "PATIENCE_S", 0.1)
    monkeypatch.setattr(os, "replace", Refusing(os.replace, times=10**9))
    with pytest.raises(UnusableFile, match=r"x could not be written: another program has it open"):
        tree.write("x", "new")
    assert tree.read_text("x") == "old"
    assert [each.name for each in tree.entries()] == ["sub", "x"]


def test_elsewhere_a_refusal_is_final(tree, monkeypatch):
    tree.write("x", "old")
    refusing = Refusing(os.replace, times=1)
    monkeypatch.setattr(os, "replace", refusing)
    monkeypatch.setattr(disk, "on_windows", False)
    with pytest.raises(UnusableFile):
        tree.write("x", "new")
    assert refusing.calls == 1


class _Entry:
    """What `lstat` says on Windows."""

    def __init__(self, mode: int, tag: int = 0):
        self.st_mode, self.st_reparse_tag = mode, tag


@pytest.mark.parametrize(
    "entry, link",
    [
        (_Entry(stat.S_IFLNK, 0xA000000C), True),  # a symbolic link
        (_Entry(stat.S_IFDIR, 0xA0000003), True),  # a junction, for which S_ISLNK is false
        (_Entry(stat.S_IFREG, 0x9000001A), False),  # a file that OneDrive keeps in the cloud
        (_Entry(stat.S_IFDIR), False),
    ],
)
def test_on_windows_junctions_are_links_and_onedrives_files_are_none(entry, link):
    assert disk.is_link(entry) is link
    assert disk.is_plain(entry) is (not link and stat.S_ISREG(entry.st_mode))
    assert disk.is_folder(entry) is (not link and stat.S_ISDIR(entry.st_mode))
