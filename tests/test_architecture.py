"""docs/architecture.md names what exists: every file, and every class, method or function that it says is in one."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
_QUOTED = re.findall(r"`([^`\s]+)`", PAGE)
FILES = sorted({name for name in _QUOTED if "/" in name or name.endswith(".toml")})
NO_DEFINITIONS = {"Makefile", "OPERATOR"}
NAMES = sorted({name for name in _QUOTED if re.fullmatch(r"[A-Za-z_]+(\.[a-z_]+)?", name)} - NO_DEFINITIONS - {*FILES})
SOURCES = {
    path: path.read_text(encoding="utf-8")
    for room in ("runtime", "racing", "wire", "experience", "bridge", "train_cloud", "scripts")
    for path in (ROOT / room).rglob("*.py")
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_or_folder_of_the_page_exists(name: str) -> None:
    path = ROOT / name
    assert path.is_dir() if name.endswith("/") else path.is_file()


def test_the_page_names_enough_to_be_worth_testing() -> None:
    assert len(FILES) > 30
    assert {"Publisher.in_force", "Task.advance", "encode_batch", "assemble", "Sink"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_name_of_the_page_is_defined(name: str) -> None:
    owner, _, member = name.rpartition(".")
    for source in SOURCES.values():
        if not owner and re.search(rf"^(class|def) {member}\b", source, re.M):
            return
        found = re.search(rf"^class {owner}\b.*?(?=^\S|\Z)", source, re.M | re.S) if owner else None
        if found and re.search(rf"^    (async )?def {member}\b", found[0], re.M):
            return
    pytest.fail(f"nothing of the project defines {name}")
