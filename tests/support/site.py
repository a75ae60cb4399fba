"""Everything of one run on this machine, as real processes that a test may kill: receiver, trainer, scripted bridge.

The bridge dials through a FaultProxy that follows the receiver to whatever port it has. Processes hang on a leash, so
that they die with the test, and write to a log file each. `said` collects what was done, so that a failure can tell.
"""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

import msgspec

from bridge.spool import Spool
from experience.codec import decode_batch
from experience.environment import racing
from tests.support.fault_proxy import FaultProxy
from tests.support.frozen import freeze
from tests.support.moto_s3 import MotoS3
from tests.support.runs import run_config
from tests.support.script import Script, check_whole
from tests.support.waiting import wait_until
from train_cloud.object_store import ObjectStore
from train_cloud.open_store import open_store
from train_cloud.receiver.segments import decode_segment, parse_key
from train_cloud.receiver.tls import load_identity
from train_cloud.run_config import RunConfig
from train_cloud.run_folder.keys import EXPERIENCE
from train_cloud.store import Store, StoredBatch, StoreError, TrainerProgress
from train_cloud.trainer.counters import Counters
from train_cloud.trainer.saving.manifest import find_newest
from wire.pairing import Pairing, PairingError, format_pairing, new_token, parse_pairing

RECEIVER, TRAINER, BRIDGE = "receiver", "trainer", "bridge"
_LAST_LINES = 12

SMALL: dict[str, object] = {
    "network": [8],
    "batch_size": 8,
    "learning_starts": 100,
    "updates_per_step": 0.05,
    "gradient_chunk": 8,
    "save_frequency": 300,
    "publish_seconds": 0.3,
    "segment_seconds": 0.3,
    "buffer_size": 20_000,
    "total_timesteps": 1_000_000,
    "listen_host": "127.0.0.1",
    "listen_port": 0,
}
"""A run that costs little: a tiny network, few updates, frequent checkpoints and segments."""


class Site:
    """One run: `instance` is the folder that an instance has, `keep` what outlives it beside the bucket.

    Args:
        folder: of the test, empty.
        s3: the bucket's server.
        tls: whether the bridge dials wss:// with a pin; else ws://.
        changes: fields of the run's configuration.
    """

    def __init__(self, folder: Path, s3: MotoS3, tls: bool = False, **changes: object) -> None:
        self.folder, self.s3, self.tls = folder, s3, tls
        self.instance, self.keep, self.spool = folder / "instance", folder / "keep", folder / "spool"
        self.keep.mkdir(parents=True)
        small = SMALL | {"run_id": folder.name, "bucket": msgspec.to_builtins(s3.bucket)}
        self.config: RunConfig = run_config(**(small | changes))
        self.objects = open_store(self.config.bucket, f"runs/{self.config.run_id}/")
        (self.keep / "run.json").write_bytes(msgspec.json.encode(self.config))
        self.token = new_token()
        (self.keep / "token").write_text(self.token)
        # Made once and kept outside the instance, like the key that a replacement finds again.
        self._pin = load_identity(self.keep, "127.0.0.1").pin if tls else None
        self.proxy = FaultProxy(("127.0.0.1", 1))
        self.said: list[str] = []
        self._began = time.monotonic()
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._log_began: dict[str, int] = {}
        self._ended = threading.Event()
        self._following = threading.Thread(target=self._follow, name="follow", daemon=True)

    def __enter__(self) -> "Site":
        self.proxy.__enter__()
        self._following.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._following.join(120)
        for name in list(self._processes):
            self.kill(name)
        self.proxy.__exit__()
        if kind is not None:
            print(self.story())

    @property
    def uri(self) -> str:
        """The pairing string by which the bridge reaches the receiver, through the proxy."""
        return format_pairing(Pairing("127.0.0.1", self.proxy.port, self.token, self._pin, self.tls))

    def start(
        self,
        name: str,
        module: str,
        *arguments: object,
        size_limit: int | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Start `python -m module`; with `size_limit` no file that it writes may grow beyond so many bytes."""
        command = [sys.executable, "-m", "scripts.processes.leash", module, *map(str, arguments)]
        if size_limit is not None:
            command = ["prlimit", f"--fsize={size_limit}:", *command]
        variables = {**self._environment(), **(environment or {})}
        with self.log_file(name).open("ab") as log:
            self._log_began[name] = log.tell()
            self._processes[name] = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=log, stderr=log, env=variables, cwd=Path.cwd()
            )
        self.say(f"{name} starts")

    def start_receiver(self, size_limit: int | None = None) -> None:
        """Start the receiver on the instance's folder, which is made if it does not exist."""
        self.instance.mkdir(exist_ok=True)
        (self.instance / "pairing.txt").unlink(missing_ok=True)
        if self.tls:
            shutil.copy(self.keep / "tls.pem", self.instance / "tls.pem")
        plain = () if self.tls else ("--plain",)
        arguments = ("--config", self.keep / "run.json", "--folder", self.instance, *plain)
        self.start(RECEIVER, "train_cloud.receiver", *arguments, size_limit=size_limit)

    def start_trainer(self) -> None:
        """Start the trainer on the instance's folder."""
        self.start(TRAINER, "train_cloud.trainer", "--config", self.keep / "run.json", "--folder", self.instance)

    def start_bridge(self, seed: int, cars: int, ticks: int, hz: float) -> None:
        """Start the scripted bridge on its spool."""
        script = ("--seed", seed, "--cars", cars, "--ticks", ticks, "--hz", hz)
        self.start(BRIDGE, "tests.support.scripted_bridge", "--spool", self.spool, *script)

    def code(self, name: str) -> int | None:
        """The exit code of the process of that name; None while it runs."""
        return self._processes[name].poll()

    def check_running(self, *names: str) -> None:
        """Raise AssertionError when one of these processes has ended by itself."""
        for name in names:
            assert self.code(name) is None, f"the {name} ended by itself with exit code {self.code(name)}"

    def kill(self, name: str) -> None:
        """SIGKILL; returns when the process is gone."""
        process = self._processes.pop(name)
        process.kill()
        process.wait(120)
        if process.stdin is not None:
            process.stdin.close()
        self.say(f"{name} killed")

    def freeze(self, name: str, frozen: bool) -> None:
        """Stop the process in its tracks, its connections open; or let it go on."""
        if frozen:
            freeze(self._processes[name].pid)
        else:
            self._processes[name].send_signal(signal.SIGCONT)
        self.say(f"{name} {'frozen' if frozen else 'goes on'}")

    def terminate(self, name: str, seconds: float = 120.0) -> int:
        """SIGTERM; the exit code of the orderly end."""
        process = self._processes.pop(name)
        process.send_signal(signal.SIGTERM)
        self.say(f"{name} told to end")
        try:
            return process.wait(seconds)
        except subprocess.TimeoutExpired:
            self._processes[name] = process
            raise AssertionError(f"the {name} did not end within {seconds} s of SIGTERM") from None
        finally:
            if process.poll() is not None and process.stdin is not None:
                process.stdin.close()

    def wait_for_end(self, name: str, seconds: float) -> int:
        """The exit code of a process that ends by itself."""
        wait_until(lambda: self.code(name) is not None, f"the {name} ends by itself", seconds)
        code = self.code(name)
        assert code is not None
        return code

    def lose_instance(self) -> None:
        """The instance dies without a notice, and its disk with it."""
        for name in (RECEIVER, TRAINER):
            if name in self._processes:
                self.kill(name)
        shutil.rmtree(self.instance)
        self.say("the instance's folder is gone")

    def wait_for_receiver(self, seconds: float = 30.0) -> None:
        """Wait until the receiver listens."""
        wait_until((self.instance / "pairing.txt").exists, "the receiver listens", seconds)
        wait_until(lambda: self._listening_port() == self.proxy.target[1], "the proxy knows the receiver", seconds)

    def wait_for_trainer(self, seconds: float = 60.0) -> None:
        """Wait until the trainer, in its present life, is at work and has said how far it is."""
        wait_until(lambda: "event=training" in self.log(TRAINER, present_life=True), "the trainer is at work", seconds)

    def store(self) -> Store:
        """The instance's store, opened anew; close it."""
        return Store(self.instance / "store.db")

    def consumed_steps(self) -> int:
        """How many steps the trainer says that it has taken in; -1 before it is at work."""
        if not (self.instance / "store.db").exists():
            return -1
        store = self.store()
        try:
            progress = store.progress()
            return -1 if progress == TrainerProgress() else progress.consumed_steps
        except StoreError:
            return -1
        finally:
            store.close()

    def stored_steps(self) -> int:
        """How many steps the receiver has stored."""
        store = self.store()
        try:
            return store.total_steps()
        finally:
            store.close()

    def stored_batches(self) -> list[StoredBatch]:
        """Every batch in the store, by stream and number."""
        store = self.store()
        try:
            return sorted(store.read_batches(0, 2**31), key=lambda batch: (batch.stream, batch.number))
        finally:
            store.close()

    def batches_in_bucket(self) -> dict[tuple[str, int], bytes]:
        """Blob of each (stream, number) in the bucket; AssertionError where two segments disagree."""
        return batches_in_bucket(self.objects)

    def checkpoint_counters(self) -> Counters:
        """The counters of the newest checkpoint in the bucket."""
        checkpoint = find_newest(self.objects).checkpoint
        assert checkpoint is not None, "there is no checkpoint"
        return msgspec.json.decode(checkpoint.files["counters.json"], type=Counters)

    def log_file(self, name: str) -> Path:
        """Where the process of that name writes, over all its lives."""
        return self.keep / f"{name}.log"

    def log(self, name: str, present_life: bool = False) -> str:
        """What the process of that name has written so far, in all its lives or only since it last started."""
        file = self.log_file(name)
        content = file.read_bytes() if file.exists() else b""
        return content[self._log_began[name] if present_life else 0 :].decode(errors="replace")

    def say(self, what: str) -> None:
        """Note what was done, and when."""
        self.said.append(f"{time.monotonic() - self._began:7.3f} s  {what}")

    def story(self) -> str:
        """What was done, and the last lines of each log."""
        parts = ["what was done:", *self.said]
        for name in (RECEIVER, TRAINER, BRIDGE):
            parts += [f"the end of the {name}'s log:", *self.log(name).splitlines()[-_LAST_LINES:]]
        return "\n".join(parts)

    def _environment(self) -> dict[str, str]:
        return os.environ | {
            "PYTHONPATH": str(Path.cwd()),
            "AC_TRAINING_TOKEN_FILE": str(self.keep / "token"),
            "AC_BRIDGE_URI": self.uri,
            "OMP_NUM_THREADS": "1",
        }

    def _follow(self) -> None:
        while not self._ended.wait(0.02):
            port = self._listening_port()
            if port is not None:
                self.proxy.target = ("127.0.0.1", port)

    def _listening_port(self) -> int | None:
        try:
            return parse_pairing((self.instance / "pairing.txt").read_text()).port
        except (OSError, PairingError):
            return None


def batches_in_bucket(objects: ObjectStore) -> dict[tuple[str, int], bytes]:
    """Blob of each (stream, number) among the run's objects; AssertionError where two segments disagree."""
    found: dict[tuple[str, int], bytes] = {}
    for name in objects.list(EXPERIENCE):
        key = parse_key(name)
        assert key is not None, f"{name} is no segment"
        for batch in decode_segment(objects.get(name)[0], key).batches():
            place = (batch.stream, batch.number)
            assert found.setdefault(place, batch.blob) == batch.blob, f"two segments hold different batches {place}"
    return found


def check_rows(site: Site, script: Script, ticks: int, pruned: bool = False) -> str:
    """Hold that store and bucket have each row of the script once, as the bridge's only stream, which is returned.

    With `pruned` the store may lack the oldest batches; what it holds must still be the bucket's.
    """
    with Spool(site.spool) as spool:
        stream = spool.stream
    stored = [batch for batch in site.stored_batches() if batch.stream == stream]
    saved = {number: blob for (name, number), blob in site.batches_in_bucket().items() if name == stream}
    missing = len(saved) - len(stored)
    assert missing == 0 or pruned, f"the store lacks {missing} batches of the bucket"
    assert [batch.number for batch in stored] == list(range(missing + 1, len(saved) + 1))
    assert {batch.number: batch.blob for batch in stored}.items() <= saved.items()
    check_whole(script, ticks, (decode_batch(blob, racing().spaces.layout) for _, blob in sorted(saved.items())))
    return stream


def check_experience(site: Site, script: Script, ticks: int, pruned: bool = False) -> None:
    """Hold that store, bucket and the trainer's last checkpoint have each row of the script once, and nothing else.

    `pruned` is check_rows'.
    """
    stream = check_rows(site, script, ticks, pruned)
    stored = site.stored_batches()
    assert {batch.stream for batch in stored} == {stream}
    counters, totals = site.checkpoint_counters(), script.totals(ticks)
    assert counters.consumed == {stream: stored[-1].number}
    assert counters.updates > 0
    for name in ("steps", "off_period_steps", "laps", "clean_laps", "best_lap", "ends"):
        assert getattr(counters, name) == getattr(totals, name), f"{name} in the last checkpoint"
