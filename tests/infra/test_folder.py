"""Which training folder is which: one id wherever it is mounted, and another for every other folder."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

from infra.files.folder import folder_id
from tests.house import REPOSITORY

ASK = "import sys; from pathlib import Path; from infra.files.folder import folder_id; print(folder_id(Path(sys.argv[1])), end='')"


def test_a_folder_has_the_same_id_for_everybody_wherever_it_is_mounted(tmp_path: Path) -> None:
    (tmp_path / "training").mkdir()
    (tmp_path / "mounted").symlink_to(tmp_path / "training")

    here = folder_id(tmp_path / "training")
    elsewhere = subprocess.run(
        [sys.executable, "-c", ASK, str(tmp_path / "mounted")], cwd=REPOSITORY, capture_output=True, text=True, check=True
    ).stdout

    assert len(here) == 32
    assert here == elsewhere == folder_id(tmp_path / "training")


def test_two_folders_have_two_ids(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in "ab"]
    for folder in folders:
        folder.mkdir()

    assert 2 == len({folder_id(folder) for folder in folders})


def test_of_many_who_come_first_one_names_the_folder_and_nothing_else_is_left(tmp_path: Path) -> None:
    together = Barrier(16)

    def come(_: int) -> str:
        together.wait()
        return folder_id(tmp_path)

    with ThreadPoolExecutor(16) as everybody:
        ids = set(everybody.map(come, range(16)))

    assert 1 == len(ids)
    assert [".tuneyard-folder"] == [path.name for path in tmp_path.iterdir()]
