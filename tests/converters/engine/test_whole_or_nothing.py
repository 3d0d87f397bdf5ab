"""A conversion that is stopped, killed or disturbed: the target is whole or not there, and the next run completes it."""

import ctypes
import errno
import hashlib
import json
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from transformers_heterogeneous.converters import CheckpointError, conversion, convert
from transformers_heterogeneous.converters.engine import staging, writing
from transformers_heterogeneous.converters.engine.headers import TensorEntry, make_header
from transformers_heterogeneous.scripts.bench.conversions import START
from transformers_heterogeneous.scripts.command.cli import app

from ..published import assert_same_tensors, read_tensors, write_checkpoint
from ..toy_family import ours, random_tensors, stacked_experts, write_toy


pytestmark = pytest.mark.usefixtures("toy")
FIRST = "model-00001-of-00002.safetensors"


@pytest.fixture
def source(tmp_path) -> Path:
    write_toy(tmp_path / "published", random_tensors())
    return tmp_path / "published"


@pytest.fixture
def target(tmp_path) -> Path:
    return tmp_path / "converted"


@pytest.fixture
def put_together(monkeypatch) -> list[str]:
    """Names of the files that are written, as they are."""
    names, really = [], writing.put_together

    def spy(file, *arguments):
        names.append(file.name)
        return really(file, *arguments)

    monkeypatch.setattr(writing, "put_together", spy)
    return names


@pytest.fixture
def permissions_count() -> Iterator[None]:
    """For root too: without its capabilities."""
    if os.name != "posix" or (os.geteuid() == 0 and sys.platform != "linux"):
        pytest.skip("everything can be read")
    if os.geteuid() != 0:
        yield
        return
    libc = ctypes.CDLL(None, use_errno=True)
    header, before = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    assert libc.capget(header, before) == 0
    none_effective = (ctypes.c_uint32 * 6)(0, before[1], before[2], 0, before[4], before[5])
    assert libc.capset(header, none_effective) == 0
    yield
    assert libc.capset(header, before) == 0


def stop(source: Path, target: Path, **wishes: object) -> Path:
    """Begin a conversion and stop it when the first file is written; the folder with that file."""
    with pytest.MonkeyPatch.context() as patch:
        really = writing.write_file

        def stopped(file, *arguments):
            if file.name != FIRST:
                raise KeyboardInterrupt
            return really(file, *arguments)

        patch.setattr(writing, "write_file", stopped)
        with pytest.raises(KeyboardInterrupt):
            convert(source, target, jobs=1, **wishes)
    assert not target.exists()
    return staging.staging_of(target) / staging.FILES


def digests(folder: Path) -> dict[str, str]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


class TestResume:
    def test_finished_files_are_used(self, source, target, put_together):
        stop(source, target)
        put_together.clear()
        report = convert(source, target)
        assert put_together == ["model-00002-of-00002.safetensors"]
        assert [file.how for file in report.files] == ["resumed", "new header"]
        assert_same_tensors(read_tensors(target), ours(random_tensors()))
        assert sorted(os.listdir(target.parent)) == ["converted", "published"]

    @pytest.mark.parametrize("where", [0, 40, -1])
    def test_files_that_are_not_what_the_plan_says_are_not(self, source, target, where):
        file = stop(source, target) / FIRST
        content = bytearray(file.read_bytes())
        content[where] ^= 1
        file.write_bytes(content)
        assert [entry.how for entry in convert(source, target).files] == ["new header", "new header"]
        assert_same_tensors(read_tensors(target), ours(random_tensors()))

    def test_truncated_files_are_not(self, source, target):
        file = stop(source, target) / FIRST
        os.truncate(file, file.stat().st_size - 1)
        convert(source, target)
        assert_same_tensors(read_tensors(target), ours(random_tensors()))

    def test_another_plan_starts_over(self, source, target):
        files = stop(source, target)
        (files / "stale.json").write_text("{}")
        (files / "more").mkdir()
        (files / "more/stale.safetensors").write_text("")
        convert(source, target, experts="stacked", max_shard_size="50KB")
        assert_same_tensors(read_tensors(target), stacked_experts(ours(random_tensors())))
        names = set(json.loads((target / "model.safetensors.index.json").read_text())["weight_map"].values())
        beside = {"README.md", "config.json", "hetero_origin.json", "model.safetensors.index.json"}
        assert set(os.listdir(target)) == names | beside

    def test_computed_files_are_used(self, source, target):
        stop(source, target, dtype="float32")
        report = convert(source, target, dtype="float32")
        assert [file.how for file in report.files] == ["resumed", "transformed"]

    def test_source_is_not_written_through_a_hard_link(self, tmp_path, target):
        source = tmp_path / "llama"
        tensors = write_checkpoint(source)
        before = digests(source)
        stop(source, target, link="hardlink")
        report = convert(source, target, link="copy")
        assert {file.how for file in report.files} == {"copy"}
        assert digests(source) == before
        assert not any((target / name).samefile(source / name) for name in before if name.endswith("safetensors"))
        assert_same_tensors(read_tensors(target), tensors)

    def test_hard_links_are_used_again(self, tmp_path, target):
        write_checkpoint(tmp_path / "llama")
        stop(tmp_path / "llama", target, link="hardlink")
        report = convert(tmp_path / "llama", target, link="hardlink")
        assert [file.how for file in report.files] == ["resumed", "hardlink"]

    def test_file_of_another_user_is_not_used(self, source, target):
        """Whose it is may change it later."""
        needs_root()
        file = stop(source, target) / FIRST
        os.chown(file, 12345, -1)
        assert [entry.how for entry in convert(source, target).files] == ["new header", "new header"]
        assert (target / FIRST).stat().st_uid == os.geteuid()


def needs_root() -> None:
    if os.name != "posix" or os.geteuid() != 0:
        pytest.skip("only root gives files away")


# What may be planted -> (how, given the hidden folder and a folder with somebody's files)
def link_to_victim(place: str):
    def plant(partial: Path, victim: Path) -> Path:
        path = partial / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(victim, target_is_directory=True)
        return path

    return plant


def given_away(place: str):
    def plant(partial: Path, victim: Path) -> Path:
        needs_root()
        path = partial / place
        path.mkdir(parents=True)
        os.chown(path, 12345, -1)
        return path

    return plant


PLANTED = {
    "the folder is a link": (link_to_victim(""), "is a link, to"),
    "its files are a link": (link_to_victim("files"), "is a link, to"),
    "a folder in it is a link": (link_to_victim("files/inside"), "is a link, to"),
    "a file in it is a link": (
        lambda partial, victim: link_to_victim("files/README.md")(partial, victim / "precious.txt"),
        "is a link, to",
    ),
    "its lock is a link": (
        lambda partial, victim: link_to_victim("lock")(partial, victim / "precious.txt"),
        "is a link, to",
    ),
    "the folder is another user's": (given_away(""), "is a folder of another user, number 12345"),
    "a folder in it is another user's": (given_away("files/inside"), "is a folder of another user, number 12345"),
}


class TestPlanted:
    """Beside the target, where it is put together: nothing is followed, written or removed."""

    @pytest.mark.parametrize("dry_run", [False, True])
    @pytest.mark.parametrize(("plant", "words"), PLANTED.values(), ids=PLANTED)
    def test_is_refused(self, plant, words, dry_run, source, target, tmp_path):
        victim = tmp_path / "victim"
        (victim / "inside").mkdir(parents=True)
        (victim / "precious.txt").write_text("mine")
        path = plant(staging.staging_of(target), victim)
        found = CliRunner().invoke(app, ["convert", str(source), str(target), *["--dry-run"] * dry_run])
        assert found.exit_code == 2
        message = found.output
        assert f"{path} {words}" in message and f"remove it if it is nobody's: {path}" in message
        assert sorted(os.listdir(victim)) == ["inside", "precious.txt"] and not os.listdir(victim / "inside")
        assert (victim / "precious.txt").read_text() == "mine"
        assert not os.path.lexists(target) and os.path.lexists(path)
        if path.is_symlink():
            path.unlink()
        else:
            path.rmdir()
        convert(source, target)

    def test_between_the_look_and_the_lock(self, source, target, tmp_path, monkeypatch):
        victim, check = tmp_path / "victim", staging.check_target
        victim.mkdir()

        def late(*paths: Path) -> None:
            check(*paths)
            staging.staging_of(target).symlink_to(victim)

        monkeypatch.setattr(conversion, "check_target", late)
        with pytest.raises(CheckpointError, match="is a link, to"):
            convert(source, target)
        assert not os.listdir(victim) and not target.exists()

    def test_nobody_else_enters_the_folder(self, source, target):
        files = stop(source, target)
        assert files.parent.stat().st_mode & 0o077 == 0
        convert(source, target)
        assert target.stat().st_mode & 0o777 == source.stat().st_mode & 0o777

    def test_target_that_is_a_link_of_another_user(self, source, target, tmp_path):
        needs_root()
        (tmp_path / "elsewhere").mkdir()
        target.symlink_to(tmp_path / "elsewhere")
        convert(source, target)  # an empty folder is nothing, and the link is one's own
        again = tmp_path / "again"
        (tmp_path / "third").mkdir()
        again.symlink_to(tmp_path / "third")
        os.lchown(again, 12345, -1)
        with pytest.raises(CheckpointError, match="is a link of another user, number 12345"):
            convert(source, again)
        assert not os.listdir(tmp_path / "third")


class TestRefusals:
    def test_second_run_on_one_target(self, source, target):
        with (
            staging.locked(staging.staging_of(target), target),
            pytest.raises(CheckpointError, match="another run is writing it"),
        ):
            convert(source, target)
        convert(source, target)

    def test_lock_of_a_run_that_has_ended(self, tmp_path, monkeypatch):
        """It was opened before the other run removed it: what it locks is no longer the folder's."""
        folder, take = tmp_path / ".x.partial", staging.take

        def late(lock: int) -> bool:
            (folder / staging.LOCK).unlink()
            return take(lock)

        monkeypatch.setattr(staging, "take", late)
        with pytest.raises(CheckpointError, match="another run"), staging.locked(folder, tmp_path / "x"):
            pass

    def test_disk_that_is_too_full(self, source, target, monkeypatch, put_together):
        monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 1000}))
        with pytest.raises(CheckpointError, match=r"takes 1?\d\d,\d\d\d bytes, .* has 1,000 free"):
            convert(source, target)
        assert not put_together and os.listdir(target.parent) == ["published"]

    def test_what_is_there_already_needs_no_room(self, source, target, monkeypatch):
        files = stop(source, target)
        there = sum(path.stat().st_blocks * 512 for path in files.rglob("*"))
        needed = convert(source, target, dry_run=True, link="copy").cost.num_bytes_written
        monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": needed - there}))
        convert(source, target, link="copy")

    @pytest.mark.skipif(not Path("/sys/kernel").is_dir(), reason="a folder that not even root can write to is Linux's")
    @pytest.mark.parametrize("name", ["converted", "new/converted"])
    def test_read_only_target(self, source, name):
        with pytest.raises(CheckpointError, match="/sys/kernel"):
            convert(source, Path("/sys/kernel") / name)

    def test_what_was_written_is_read_again(self, source, target, monkeypatch):
        """A bug, or a disk that loses bytes, does not become a checkpoint."""
        really = writing.put_together

        def spoiled(file, folder, path, *arguments):
            done = really(file, folder, path, *arguments)
            os.truncate(path, path.stat().st_size - 1)
            return done

        monkeypatch.setattr(writing, "put_together", spoiled)
        with pytest.raises(CheckpointError, match=f"{FIRST}.*disagree"):
            convert(source, target)
        assert os.listdir(target.parent) == ["published"]

    def test_targets_of_one_name_do_not_meet(self, tmp_path):
        first, second = (staging.staging_of(tmp_path / name / "model") for name in "ab")
        assert first != second

    @pytest.mark.parametrize("name", ["x" * 255, "é" * 127])
    def test_names_of_every_length(self, source, tmp_path, name):
        files = stop(source, tmp_path / name)
        assert files.parent.parent == tmp_path and files != stop(source, tmp_path / f"{name[:-1]}y")
        assert "resumed" in {file.how for file in convert(source, tmp_path / name).files}

    @pytest.mark.parametrize("dry_run", [True, False])
    def test_name_that_is_too_long(self, source, tmp_path, dry_run, put_together):
        target = tmp_path / ("x" * 256)
        with pytest.raises(CheckpointError, match=f"^{target}: File name too long"):
            convert(source, target, dry_run=dry_run)
        assert not put_together and os.listdir(tmp_path) == ["published"]

    @pytest.mark.parametrize("dry_run", [True, False])
    def test_target_inside_a_file(self, source, tmp_path, dry_run):
        (tmp_path / "file").write_text("")
        with pytest.raises(CheckpointError, match="file/new/converted: Not a directory"):
            convert(source, tmp_path / "file/new/converted", dry_run=dry_run)


def a_full_folder(target: Path) -> None:
    target.mkdir(parents=True)
    (target / "mine").write_text("not to be lost")


def a_file(target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text("not to be lost")


def a_link(target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.symlink_to(target.parent)


class TestTargetThatAppears:
    """Something takes the target's name during the run: hours of work are kept."""

    @staticmethod
    def run(monkeypatch, source: Path, target: Path, appear) -> str:
        """What the error says."""
        really = staging.flush_tree

        def late(folder: Path) -> None:
            really(folder)
            appear(target)

        with monkeypatch.context() as patch:
            patch.setattr(staging, "flush_tree", late)
            with pytest.raises(CheckpointError) as caught:
                convert(source, target)
        return str(caught.value)

    @pytest.mark.parametrize("appear", [a_full_folder, a_file, a_link])
    @pytest.mark.parametrize("name", ["converted", "new/er/converted of today"])
    def test_keeps_the_finished_work(self, source, tmp_path, monkeypatch, appear, name):
        target = tmp_path / name
        finished = staging.staging_of(target) / staging.FILES
        message = self.run(monkeypatch, source, target, appear)
        assert message.startswith(f"{target}: the output is finished") and f"It is kept, as {finished}" in message
        assert_same_tensors(read_tensors(finished), ours(random_tensors()))
        assert (finished / "config.json").exists()
        assert target.is_symlink() or "not to be lost" in (target / "mine" if target.is_dir() else target).read_text()

    @pytest.mark.parametrize("appear", [a_full_folder, a_file])
    def test_next_run_goes_on_with_it(self, source, target, monkeypatch, appear, put_together):
        self.run(monkeypatch, source, target, appear)
        with pytest.raises(CheckpointError, match="exists; nothing is overwritten"):
            convert(source, target)
        assert (staging.staging_of(target) / staging.FILES / "config.json").exists()
        target.rename(target.with_name("away"))
        put_together.clear()
        assert {file.how for file in convert(source, target).files} == {"resumed"} and not put_together
        assert_same_tensors(read_tensors(target), ours(random_tensors()))
        assert not staging.staging_of(target).exists()

    def test_command_in_the_message_works(self, source, tmp_path, monkeypatch):
        target = tmp_path / "it's of today"
        message = self.run(monkeypatch, source, target, a_full_folder)
        target.rename(tmp_path / "away")
        subprocess.run(message.rpartition("or: ")[2], shell=True, check=True)
        assert_same_tensors(read_tensors(target), ours(random_tensors()))

    def test_other_reasons(self, source, target, monkeypatch):
        def full(self: Path, other: Path) -> None:
            raise OSError(errno.EDQUOT, "Disk quota exceeded")

        with monkeypatch.context() as patch:
            patch.setattr(Path, "rename", full)
            with pytest.raises(CheckpointError, match="could not be put there: Disk quota exceeded"):
                convert(source, target)
        assert {file.how for file in convert(source, target).files} == {"resumed"}


class TestBesideTheWeights:
    """What fails with the other files fails before the weights are written."""

    def test_they_need_room_too(self, source, target, monkeypatch):
        (source / "tokenizer.json").write_bytes(bytes(10**7))
        monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 10**7}))
        with pytest.raises(CheckpointError, match=r"takes 10,\d\d\d,\d\d\d bytes, .* has 10,000,000 free"):
            convert(source, target, dry_run=True)

    def test_a_disk_that_fills_up(self, source, target, monkeypatch, put_together):
        """The error names the target, not the file that is read."""
        (source / "tokenizer.json").write_text("{}")

        def full(*paths):
            raise OSError(errno.ENOSPC, "No space left on device", str(paths[0]), None, str(paths[1]))

        monkeypatch.setattr("shutil.copyfile", full)
        with pytest.raises(CheckpointError, match=f"^{target}/tokenizer.json: No space left"):
            convert(source, target)
        assert not put_together and os.listdir(target.parent) == ["published"]

    @pytest.mark.usefixtures("permissions_count")
    @pytest.mark.parametrize("dry_run", [True, False])
    def test_they_cannot_be_read(self, source, target, dry_run, put_together):
        (source / "assets").mkdir()
        for name in ("tokenizer.json", "chat_template.jinja"):
            (source / name).write_text("{}")
            (source / name).chmod(0)
        (source / "assets").chmod(0)
        with pytest.raises(CheckpointError) as caught:
            convert(source, target, dry_run=dry_run)
        for name in ("tokenizer.json", "chat_template.jinja", "assets"):
            assert f"{source / name}: Permission denied" in str(caught.value)
        assert not put_together and os.listdir(target.parent) == ["published"]
        (source / "assets").chmod(0o700)

    @pytest.mark.usefixtures("permissions_count")
    def test_weights_that_cannot_be_read_are_not_damaged(self, source, target):
        (source / FIRST).chmod(0)
        with pytest.raises(CheckpointError, match=f"{FIRST}: cannot be read: Permission denied$"):
            convert(source, target)

    def test_config_is_last(self, source, target):
        (source / "tokenizer.json").write_text("{}")
        files = stop(source, target)
        assert (files / "tokenizer.json").exists() and not (files / "config.json").exists()


class TestParents:
    """Folders above the target that are not there yet."""

    def test_made_in_the_meantime(self, source, tmp_path):
        target = tmp_path / "new/er/converted"
        stop(source, target)
        (tmp_path / "new/er").mkdir(parents=True, exist_ok=True)
        assert "resumed" in {file.how for file in convert(source, target).files}
        assert os.listdir(tmp_path / "new/er") == ["converted"] and sorted(os.listdir(tmp_path)) == [
            "new",
            "published",
        ]

    def test_are_not_left_by_what_fails(self, source, tmp_path, monkeypatch):
        monkeypatch.setattr("transformers_heterogeneous.converters.conversion.check_written", lambda *arguments: 1 / 0)
        (tmp_path / "new").mkdir()
        with pytest.raises(ZeroDivisionError):
            convert(source, tmp_path / "new/er/est/converted")
        with pytest.raises(CheckpointError, match="File name too long"):
            convert(source, tmp_path / "new/er" / ("x" * 256) / "converted")
        assert os.listdir(tmp_path / "new") == []


def large_tensors() -> dict[str, torch.Tensor]:
    """40 MB beside the toy's own, so that there is time to kill."""
    more = {f"mtp.{number}": torch.full((2**20,), number, dtype=torch.float32) for number in range(10)}
    return random_tensors() | more


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="kills with a signal")
def test_killed_at_twenty_random_moments(tmp_path):
    """After each the target is absent or whole, and the next run completes it."""
    source, target, whole = tmp_path / "published", tmp_path / "converted", tmp_path / "whole"
    write_toy(source, large_tensors(), num_files=4)
    wishes = {"experts": "stacked", "max_shard_size": "5MB", "jobs": 2}
    start = time.monotonic()
    convert(source, whole, **wishes)
    duration, expected = time.monotonic() - start, digests(whole)
    fork, moments = multiprocessing.get_context("fork"), random.Random(20)
    num_stopped = 0
    for _ in range(20):
        run = fork.Process(target=convert, args=(source, target), kwargs=wishes)
        run.start()
        time.sleep(moments.uniform(0, duration))
        os.kill(run.pid, signal.SIGKILL)
        run.join()
        if target.exists():
            assert digests(target) == expected
        else:
            num_stopped += 1
            assert set(os.listdir(tmp_path)) <= {"published", "whole", ".converted.partial"}
            convert(source, target, **wishes)
            assert digests(target) == expected
        shutil.rmtree(target)
    assert num_stopped > 0


def run_command(source: Path, target: Path) -> subprocess.Popen[str]:
    """`hetero convert` in a process of its own, which stops itself before the last file."""
    code = (
        f"{START}\nimport os, signal, hetero\n"
        "from transformers_heterogeneous.converters import conversion\n"
        "conversion.check_written = lambda *arguments: os.kill(os.getpid(), signal.SIGTERM)\n"
        "hetero.main()"
    )
    arguments = [sys.executable, "-c", code, "convert", str(source), str(target)]
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.skipif(os.name != "posix", reason="stops with a signal")
def test_command_that_is_stopped_says_how_to_go_on(tmp_path, target):
    tensors = write_checkpoint(tmp_path / "llama")
    output, errors = run_command(tmp_path / "llama", target).communicate()
    assert not output and "Run it again to go on" in errors and "Traceback" not in errors
    assert os.listdir(tmp_path / ".converted.partial/files") and not target.exists()
    assert {file.how for file in convert(tmp_path / "llama", target).files} == {"resumed"}
    assert_same_tensors(read_tensors(target), tensors)


MEASURED = (
    f"{START}\n"
    "from transformers_heterogeneous.scripts.bench.conversions import run_task\n"
    "run_task(*sys.argv[1:])\n"
    "assert not {'torch', 'transformers', 'numpy'} & set(sys.modules)\n"
    "peak = [line for line in open('/proc/self/status') if line.startswith('VmHWM')]\n"
    "print(int(peak[0].split()[1]) / 1024)"
)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read as Linux tells it")
@pytest.mark.parametrize("task", ["rename", "reads back"])
def test_memory_does_not_grow_with_the_checkpoint(tmp_path, task):
    """600 MB, sparse; the engine alone, which needs neither torch nor transformers."""
    source, target = tmp_path / "published", tmp_path / "converted"
    source.mkdir()
    target.mkdir()
    size = 600 * 2**20
    header = make_header([TensorEntry("backbone.w", "U8", (size,), 0, size)], {"format": "pt"})
    (source / "model.safetensors").write_bytes(header)
    os.truncate(source / "model.safetensors", len(header) + size)
    for _ in range(1 if task == "rename" else 2):
        done = subprocess.run(
            [sys.executable, "-c", MEASURED, "rename", source, target], capture_output=True, text=True, check=True
        )
        assert float(done.stdout) < 100
