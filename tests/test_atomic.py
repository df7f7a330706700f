"""Files appear whole or not at all."""

import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from wsa_lightning.atomic import remove_leftovers, replacing, write_json, write_text


def test_a_failure_while_writing_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "summary.json"
    write_json(path, {"step": 1})
    with pytest.raises(OSError, match="full"), replacing(path) as temporary:
        temporary.write_text('{"step": ')
        raise OSError("the disk is full")
    assert json.loads(path.read_text()) == {"step": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_readers_never_see_half_a_file_while_many_write_it(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "progress.json"
    texts = {str(number) * 100_000 for number in range(8)}
    with ThreadPoolExecutor(8) as pool:
        writers = [pool.submit(write_text, path, text, durable=False) for text in texts for _ in range(10)]
        while not all(writer.done() for writer in writers):
            assert not path.exists() or path.read_text() in texts
    assert list(path.parent.iterdir()) == [path]


def test_files_get_the_rights_the_user_gives_new_files(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_text(tmp_path / "a.txt", "")
    finally:
        os.umask(before)
    assert (tmp_path / "a.txt").stat().st_mode & 0o777 == 0o640


def test_leftovers_of_killed_processes_go_and_nothing_else(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), replacing(tmp_path / "last.ckpt") as temporary:
        leftover = temporary.name
        raise KeyboardInterrupt
    kept = [tmp_path / name for name in ("last.ckpt", ".hidden", "x.partial", ".test.partial")]
    for path in kept[:3]:
        path.touch()
    kept[3].mkdir()  # a test that is running
    (tmp_path / leftover).touch()
    remove_leftovers(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted(kept)
