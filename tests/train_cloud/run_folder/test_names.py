"""The shell code, the units and Terraform write the names that Python's side has, and Python says each in one place."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from train_cloud.run_folder import files, keys
from train_cloud.run_folder.states import UNSET, Reason, TrainerState

ROOT = Path(__file__).parents[3]
INSTANCE, TERRAFORM = ROOT / "train_cloud" / "instance", ROOT / "terraform"
SHELL = {file.name: file for file in INSTANCE.glob("*.sh")}
UNITS = {file.name: file for file in (INSTANCE / "units").rglob("*") if file.is_file()}
HCL = {file.name: file for file in [*TERRAFORM.glob("*.tf"), *TERRAFORM.glob("templates/*")]}
FOREIGN = SHELL | UNITS | HCL

FOLDER_VARIABLES = {"AC_ETC": files.ETC, "AC_VAR": files.VAR, "AC_RUN": files.RUN, "AC_OPT": files.OPT}
KEYS = {value for name, value in vars(keys).items() if name.isupper()}
KEY_PARTS = {part for key in KEYS for part in key.split("/")}
FILES = {name for names in files.FOLDERS.values() for name in names}
CREDENTIALS = {
    files.TOKEN_VARIABLE,
    files.WANDB_KEY_VARIABLE,
    files.DASHBOARD_TOKEN_VARIABLE,
    files.DASHBOARD_TLS_VARIABLE,
}
VARIABLES = CREDENTIALS | {files.PATIENCE_VARIABLE}

FILLED_IN = r"\$\{[^}]*\}|\$\w+|\$\([^)]*\)"
FILE = r"/([A-Za-z0-9._-]+)"
ELSEWHERE = r"(/(?:etc|run|opt|srv|tmp|var/\w+|usr(?:/\w+)+)/ac-training)\b"
REASON = r"\b(?:end_instance|write_ending|put_ending)[ \t]+[\"']?([a-z_]+)\b|\$\{reason:-(\w+)\}"


def unknown_names(text: str) -> list[str]:
    """What the text names of an instance's files, of the bucket's keys and of reasons, and Python does not know."""
    text = re.sub(r"^[ \t]*#.*$", "", text, flags=re.MULTILINE)
    reasons = {first or second for first, second in re.findall(REASON, text)}
    keys_named = {key for key in _keys(text) if not _is_known(key)}
    return [*set(re.findall(ELSEWHERE, text)) - {*files.FOLDERS}, *_files(text), *keys_named, *reasons - {*Reason}]


def _files(text: str) -> Iterator[str]:
    """Files of an instance that Python does not know."""
    named = [(folder, rf"\$\{{?{variable}\}}?") for variable, folder in FOLDER_VARIABLES.items()]
    for folder, written in [*named, *((folder, folder) for folder in files.FOLDERS)]:
        for name in re.findall(written + FILE, text):
            # A dot begins a draft; before `$$` or a sentence's end it ends the name.
            if not name.startswith(".") and name.rstrip(".") not in files.FOLDERS[folder]:
                yield f"{folder}/{name}"
    yield from (
        name for name in re.findall(r"%d/([\w.]+)|LoadCredential=([\w.]+):", text) if "".join(name) not in FILES
    )


def _keys(text: str) -> Iterator[str]:
    """Whole keys: what the shell's calls of S3 are given, and whatever begins as our keys do."""
    yield from re.findall(r"\b(?:s3_(?:get|put|status) \"|KEY=)([a-z][^\"\n]+)", text)
    yield from re.findall(rf"(?<![\w./-])(?:code|env|runs)/(?:{FILLED_IN}|[\w./*%-])*", text)
    yield from re.findall(r"\"(?:\$\{local\.bucket_arn\}/)?([a-z]+/)\*\"", text)


def _is_known(key: str) -> bool:
    """Whether Python has the key's first folder, and every part of it that is written out."""
    parts = re.sub(FILLED_IN, "*", key).rstrip(".").split("/")
    written = [part for part in parts if re.fullmatch(r"[A-Za-z_.]+", part)]
    return f"{parts[0]}/" in {keys.CODE, keys.ENVIRONMENTS, keys.RUNS} and set(written) <= KEY_PARTS


@pytest.mark.parametrize("name", FOREIGN)
def test_every_name_is_one_that_python_knows(name: str) -> None:
    assert unknown_names(FOREIGN[name].read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("file", "written", "changed"),
    [
        ("boot.sh", "$AC_RUN/notice", "$AC_RUN/notices"),
        ("boot.sh", "runs/$AC_RUN_ID/DONE", "runs/$AC_RUN_ID/FINISHED"),
        ("boot.sh", "runs/$AC_RUN_ID/launches", "runs/$AC_RUN_ID/starts"),
        ("boot.sh", "runs/$AC_RUN_ID/logs/", "run/$AC_RUN_ID/logs/"),
        ("boot.sh", "code/$AC_CODE/MANIFEST", "code/$AC_CODE/manifest"),
        ("boot.sh", "end_instance over_launches", "end_instance too_many_launches"),
        ("install.sh", "env/${sum", "environments/${sum"),
        ("install.sh", "$AC_ETC/units.env", "$AC_ETC/unit.env"),
        ("lifeline.sh", "$AC_VAR/journal.cursor", "$AC_VAR/cursor"),
        ("lifeline.sh", "$AC_VAR/boot_steps", "$AC_VAR/boot-steps"),
        ("lifeline.sh", "/endings/$(", "/ends/$("),
        ("lifeline.sh", "put_ending interrupted", "put_ending taken_back"),
        ("lifeline.sh", "${reason:-failed}", "${reason:-broken}"),
        ("lifeline.sh", "/var/lib/ac-training", "/var/cache/ac-training"),
        ("ac-drain.path", "/run/ac-training/notice", "/run/ac-training/interruption"),
        ("ac-token.path", "/run/ac-training/token", "/run/ac-training/bridge_token"),
        ("ac-training.service", "%d/wandb_key", "%d/key"),
        ("ac-receiver.service", "LoadCredential=token", "LoadCredential=secret"),
        ("ac-dashboard.service", "/run/ac-training/dashboard_token", "/run/ac-training/page_token"),
        ("ac-tensorboard.service", "/var/lib/ac-training/tensorboard", "/var/lib/ac-training/curves"),
        ("locals.tf", "/etc/ac-training/run.json", "/etc/ac-training/config.json"),
        ("iam.tf", '"runs/*"', '"lives/*"'),
        ("iam.tf", "bucket_arn}/env/*", "bucket_arn}/envs/*"),
        ("storage.tf", "code/${local.code_hash}/MANIFEST", "code/${local.code_hash}/LIST"),
    ],
)
def test_a_name_that_only_they_have_is_found(file: str, written: str, changed: str) -> None:
    text = FOREIGN[file].read_text(encoding="utf-8")
    assert written in text
    assert unknown_names(text.replace(written, changed)) != []


def test_variables_and_their_defaults_are_those_of_python() -> None:
    units = "".join(file.read_text(encoding="utf-8") for file in UNITS.values())
    named = set(re.findall(r"\b(AC_\w+)=%d", units))
    assert named == CREDENTIALS
    shell = "".join(file.read_text(encoding="utf-8") for file in SHELL.values())
    assert set(re.findall(rf"{files.PATIENCE_VARIABLE}:-(\d+)", shell)) == {f"{files.PATIENCE_SECONDS:g}"}


def test_terraform_fills_parameters_with_what_python_takes_for_unset() -> None:
    text = HCL["secrets.tf"].read_text(encoding="utf-8")
    values = re.findall(r"^ *value(?:_wo)? *= (?:coalesce\([\w.]+, )?\"(\w+)\"", text, re.MULTILINE)
    assert len(values) == 4
    assert set(values) == {UNSET}


UNMISTAKABLE = {
    name for name in KEYS | FILES | VARIABLES | {*Reason, *TrainerState} if re.search(r"[^a-z]", name) is not None
}
ROOM = ROOT / "train_cloud" / "run_folder"
PYTHON = {
    str(file.relative_to(ROOT)): file
    for folder in ("train_cloud", "scripts")
    for file in sorted((ROOT / folder).rglob("*.py"))
    if ROOM not in file.parents
}


def test_nothing_else_in_python_says_a_name_again() -> None:
    said = {
        (name, node.value)
        for name, file in PYTHON.items()
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and node.value in UNMISTAKABLE
    }
    assert said == set()


def test_the_systems_own_python_reads_the_room() -> None:
    """Without packages; the guards of the boot need it so."""
    modules = [
        f"train_cloud.run_folder.{file.stem}" for file in ROOM.glob("*.py") if file.stem not in ("__init__", "endpoint")
    ]
    assert len(modules) >= 3
    command = [sys.executable, "-S", "-c", f"import runtime.files, {', '.join(modules)}"]
    subprocess.run(command, cwd=ROOT, check=True, timeout=120)
