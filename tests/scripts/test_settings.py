"""What is generated from the settings' declaration is up to date, and one more setting needs one more line."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.settings import COPIES, ROOT

NEW_WEIGHT = '    kerb_penalty: float = _weight(0.5, "rewards/s", "Taken while a kerb is under a wheel.")\n'
ASK = """
from train_cloud.run_config import ConfigError, parse_run_config
from experience.environment import racing
from train_cloud.environment import bridge_options, task_config
run = '{"run_id": "a", "bucket": {"name": "abc"}, "task": {"kerb_penalty": %s}}'
three, four = (parse_run_config((run % number).encode()) for number in "34")
print(racing(task_config(three)).signature != racing(task_config(four)).signature)
print(bridge_options(three))
try:
    parse_run_config((run % "-1").encode())
except ConfigError as error:
    print(error)
"""


@pytest.mark.parametrize("path", COPIES, ids=lambda path: path.name)
def test_what_is_generated_is_up_to_date(path: Path) -> None:
    assert path.read_text(encoding="utf-8") == COPIES[path](), f"{path.name} is stale; run `make settings`"


@pytest.mark.slow
def test_one_line_and_make_settings_make_a_weight_of_the_reward_known_everywhere(tmp_path: Path) -> None:
    for room in ("runtime", "racing", "wire", "experience", "bridge", "train_cloud", "scripts"):
        shutil.copytree(ROOT / room, tmp_path / room, ignore=shutil.ignore_patterns("__pycache__"))
    for folder in ("terraform", "docs"):
        (tmp_path / folder).mkdir()
    declaration = tmp_path / "racing" / "task_config.py"
    before, mark, after = declaration.read_text(encoding="utf-8").partition("\n    def __post_init__")
    declaration.write_text(before + NEW_WEIGHT + mark + after, encoding="utf-8")

    def python(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(tmp_path), "TERMINAL_WIDTH": "600", "NO_COLOR": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    python("-m", "scripts.settings")
    for_terraform = (tmp_path / "terraform" / "training_settings.json").read_text(encoding="utf-8")
    assert '"task.kerb_penalty": {"json": ' in for_terraform
    for_people = (tmp_path / "docs" / "settings.md").read_text(encoding="utf-8")
    assert re.search(r"`task\.kerb_penalty` \| `0\.5` \| rewards/s \| .*1,000,000 \| Taken while a kerb", for_people)
    signature_differs, options, refusal = python("-c", ASK).splitlines()
    assert signature_differs == "True"
    assert options == "--rate 20 --task kerb_penalty=3"
    assert "`task.kerb_penalty` has the value -1" in refusal
    assert "kerb_penalty" in python("-m", "bridge", "drive", "--help")
