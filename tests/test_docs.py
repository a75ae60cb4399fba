"""README and docs say what is so: links lead somewhere, commands exist, generated pages are those of the code."""

import os
import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest
import typer.main

from bridge.cli import app as ac_bridge
from scripts.cloud.cli import app as ac_train
from scripts.generated import generated
from tests.support.tools import need_tools

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
GENERATED = generated()
ROOMS = (
    "runtime",
    "racing",
    "wire",
    "experience",
    "bridge",
    "train_cloud",
    "scripts",
    "terraform",
    "tests",
    "examples",
)
OF_USERS = {"terraform/terraform.tfvars", "terraform/terraform.tfstate"}
"""Files that git does not have."""


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.slow
@pytest.mark.parametrize("page", [path for path in GENERATED if path.suffix == ".md"], ids=name)
def test_a_generated_page_is_up_to_date(page: Path) -> None:
    assert page.read_text(encoding="utf-8") == GENERATED[page](), f"{name(page)} is stale; run `make generated`"


def test_the_readme_stays_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 150


def test_the_readme_leads_to_every_page_by_few_steps() -> None:
    reached, ahead = {ROOT / "README.md"}, [ROOT / "README.md"]
    while ahead:
        page = ahead.pop()
        found = {(page.parent / target.partition("#")[0]).resolve() for target in links(page)} & set(PAGES)
        ahead += found - reached
        reached |= found
    assert reached == set(PAGES), "these pages are linked from nowhere"


# Links.


def links(page: Path) -> list[str]:
    """Where a page's links and pictures lead, those on the web left out."""
    found = re.findall(r"\]\(([^()\s]+)\)", page.read_text(encoding="utf-8"))
    return [target for target in found if not re.match(r"https?://", target)]


@cache
def anchors(page: Path) -> set[str]:
    """The names that GitHub gives to a page's headings."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    slugs: list[str] = []
    for heading in re.findall(r"^#+ +(.*)$", text, re.M):
        slug = re.sub(r"[^\w\- ]", "", re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).lower()).replace(" ", "-")
        slugs.append(slug + (f"-{slugs.count(slug)}" if slug in slugs else ""))
    return set(slugs)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_link_leads_somewhere(page: Path) -> None:
    dead = []
    for target in links(page):
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        if not there.exists() or (anchor and anchor not in anchors(there)):
            dead.append(target)
    assert not dead, f"{name(page)} leads to what does not exist: {dead}"


def test_what_the_code_says_of_a_page_is_a_page() -> None:
    files = [path for room in ROOMS for ending in ("py", "tf", "sh") for path in (ROOT / room).rglob(f"*.{ending}")]
    for path in [*files, ROOT / "Makefile"]:
        for page in re.findall(r"\bdocs/[\w/-]+\.(?:md|svg|json)\b", path.read_text(encoding="utf-8")):
            assert (ROOT / page).exists(), f"{name(path)} names {page}"


def test_a_sentence_that_is_looked_up_is_one_that_is_said() -> None:
    """By docs/troubleshooting.md, whose ellipses stand for what differs."""
    rows = re.findall(r"^\| (.*?) \|", (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8"), re.M)
    parts = [part.strip() for row in rows for said in re.findall(r'"([^"]+)"', row) for part in said.split("…")]
    files = [
        path for room in ROOMS for ending in ("py", "tf", "html", "js") for path in (ROOT / room).rglob(f"*.{ending}")
    ]
    code = "\n".join(path.read_text(encoding="utf-8") for path in files if "tests" not in path.parts)
    # A long sentence stands in pieces, one a line.
    code = re.sub(r"\"\s+f?\"", "", code)
    assert len(parts) > 30
    unsaid = [part for part in parts if part not in code]
    assert not unsaid, f"nothing of the project says {unsaid}"


# Commands.


class Code(NamedTuple):
    """A piece of code that a page shows, on one line, without what stands beside it."""

    page: Path
    text: str

    def __str__(self) -> str:
        return f"{name(self.page)} shows `{self.text}`"


def shown() -> Iterator[Code]:
    """All code of the pages: each line of a block up to a comment or an explanation, each span between backticks."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for line in re.findall(r"^ {4,}(?=\S)(.*)$", text, re.M):
            yield Code(page, re.split(r"  +|\s#", line)[0])
        for span in re.findall(r"`([^`]+)`", text):
            yield Code(page, " ".join(span.split()))


SHOWN = list(shown())


def test_the_pages_show_enough_to_be_worth_testing() -> None:
    text = "\n".join(code.text for code in SHOWN)
    for command in ("make demo", "make bridge", "ac-bridge doctor --move", "-m train_cloud.evaluate --run", "ac-train"):
        assert command in text


@cache
def makefile() -> tuple[set[str], set[str], str]:
    """The targets of the Makefile, the variables that it reads, and what `make` alone says."""
    need_tools("make")
    # These tests may themselves have been started by make, whose children take over how it was called.
    outside = {key: value for key, value in os.environ.items() if key not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")}

    def make(*arguments: str) -> str:
        return subprocess.run(
            ["make", *arguments], cwd=ROOT, env=outside, capture_output=True, text=True, check=True
        ).stdout

    targets = re.search(r"^\.PHONY: (.*)$", make("-pn", "help"), re.M)
    assert targets
    source = (ROOT / "Makefile").read_text(encoding="utf-8")
    read = re.findall(r"\$\((?:if |or |and )?(?:\$\()?([A-Z_]+)\b|^ifdef (\w+)|^(\w+) \?=", source, re.M)
    return set(targets[1].split()), {variable for found in read for variable in found}, make("-s")


def test_a_target_of_make_that_is_shown_exists() -> None:
    targets, variables, _ = makefile()
    wrong = []
    for code in SHOWN:
        for target, rest in re.findall(r"(?:^|[\s(\"'])make(?: -\S+)* ([a-z][a-z-]*)(.*)", code.text):
            if target not in targets:
                wrong.append(f"{code}: there is no such target")
            unread = set(re.findall(r"\b([A-Z][A-Z_]+)=", rest)) - variables
            wrong += [f"{code}: the Makefile reads no {variable}" for variable in unread]
    assert not wrong, "\n".join(wrong)


def test_make_alone_lists_every_target() -> None:
    targets, _, said = makefile()
    listed = set(re.findall(r"[a-z][a-z-]*", " ".join(re.findall(r"\bmake ((?:[a-z-]+ ?)+)", said))))
    assert targets <= listed, f"`make` says nothing of {sorted(targets - listed)}"


APPS = {"ac-bridge": typer.main.get_group(ac_bridge), "ac-train": typer.main.get_group(ac_train)}


def test_a_command_of_ours_that_is_shown_exists_with_its_options() -> None:
    wrong = []
    for code in SHOWN:
        for program, word, rest in re.findall(r"\b(ac-bridge|ac-train|-m bridge) ([a-z][a-z-]*)([^|;&]*)", code.text):
            command = APPS[program.replace("-m bridge", "ac-bridge")].commands.get(word)
            if command is None:
                wrong.append(f"{code}: {program} has no {word}")
                continue
            known = {"--help", *(it for one in command.params for it in (*one.opts, *one.secondary_opts))}
            given = set(re.findall(r"(?<!\S)--[a-z][a-z-]*", re.sub(r"[\"'].*?[\"']", "", rest)))
            wrong += [f"{code}: {program} {word} has no {option}" for option in given - known]
    assert not wrong, "\n".join(wrong)


def source_of(module: str) -> str | None:
    """The text of what `python -m module` runs; None where there is no such module."""
    path = ROOT / module.replace(".", "/")
    file = path / "__main__.py" if path.is_dir() else path.with_suffix(".py")
    return file.read_text(encoding="utf-8") if file.exists() else None


def test_a_module_that_is_shown_to_be_run_exists_with_its_options() -> None:
    wrong = []
    for code in SHOWN:
        for module, rest in re.findall(rf"-m ((?:{'|'.join(ROOMS)})\b(?:\.\w+)*)(.*)", code.text):
            source = source_of(module)
            if source is None:
                wrong.append(f"{code}: there is no {module}")
                continue
            # What `-m bridge` takes is looked at above.
            for option in re.findall(r"(?<!\S)--([a-z][a-z-]*)", rest if module != "bridge" else ""):
                declared = rf"\"--{option}\"|^ +{option.replace('-', '_')}: "
                if option != "help" and not re.search(declared, source, re.M):
                    wrong.append(f"{code}: {module} has no --{option}")
    assert not wrong, "\n".join(wrong)


def test_an_option_that_is_shown_alone_is_one_of_ours() -> None:
    commands = [command for app in APPS.values() for command in app.commands.values()]
    known = {"--help", *(option for command in commands for one in command.params for option in one.opts)}
    modules = [path for room in ("scripts", "train_cloud") for path in (ROOT / room).rglob("*.py")]
    source = "\n".join(path.read_text(encoding="utf-8") for path in modules)
    wrong = []
    for code in SHOWN:
        for option in re.findall(r"^--[a-z][a-z-]*", code.text):
            declared = rf"\"{option}\"|^ +{option.removeprefix('--').replace('-', '_')}: Annotated"
            if option not in known and not re.search(declared, source, re.M):
                wrong.append(f"{code}: nothing here has that option")
    assert not wrong, "\n".join(wrong)


def test_a_file_of_the_project_that_is_shown_exists() -> None:
    wrong = []
    for code in SHOWN:
        for file in re.findall(rf"(?<![\w/.-])(?:{'|'.join(ROOMS)})/[\w./-]*[\w/]", code.text):
            if file not in OF_USERS and not (ROOT / file).exists():
                wrong.append(f"{code}: there is no {file}")
    assert not wrong, "\n".join(wrong)


def test_an_output_of_terraform_that_is_shown_exists() -> None:
    outputs = re.findall(r'^output "(\w+)"', (ROOT / "terraform" / "outputs.tf").read_text(encoding="utf-8"), re.M)
    read = [(code, out) for code in SHOWN for out in re.findall(r"terraform output (?:-raw |-json )(\w+)", code.text)]
    wrong = [f"{code}: terraform has no output {out}" for code, out in read if out not in outputs]
    assert read
    assert not wrong, "\n".join(wrong)
