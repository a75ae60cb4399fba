"""Keys in the bucket: those of a run relative to its prefix, as ObjectStore takes them. A folder ends with a slash."""

from typing import Final

CODE: Final = "code/"
"""A folder for each version of the code; its CODE_MANIFEST lists the others' SHA-256."""
CODE_MANIFEST: Final = "MANIFEST"
ENVIRONMENTS: Final = "env/"
"""Installed Python environments, as tar.zst by the hash of what they depend on."""
RUNS: Final = "runs/"

DONE: Final = "DONE"
"""There when the run is finished; holds its last metrics."""
RUN_CONFIG: Final = "run.json"
METRICS: Final = "metrics.json"
STARTED: Final = "started"
"""When the run was last started by hand, ISO 8601; hours count from it."""
LAUNCHES: Final = "launches"
"""Launches since then, in digits."""

EXPERIENCE: Final = "experience/"
TENSORBOARD: Final = "tensorboard/"
TRACKS: Final = "tracks/"
"""What bridges announced of where they drive, JSON by its SHA-256."""
LIVES: Final = "lives/"
"""What each instance took, a JSON object by its id."""
ENDINGS: Final = "endings/"
"""Why instances ended, JSON objects whose names begin with the time."""
LOGS: Final = "logs/"
"""A folder for each instance: increments of its journal, and the PROBE of its boot; for another machine, of its
processes' logs."""
PROBE: Final = "probe"
PROBES: Final = "probes/"
"""An object while a start tries what the bucket's server can do."""

CHECKPOINTS: Final = "checkpoints/"
LATEST: Final = CHECKPOINTS + "LATEST"
"""A copy of the newest complete checkpoint's manifest, written last."""
BEST: Final = CHECKPOINTS + "BEST"
"""The manifest of the checkpoint whose policy was judged best, and that judgement."""
MANIFEST: Final = "manifest.json"
"""In each checkpoint's folder, as those that follow."""
MODEL: Final = "model.zip"
POLICY: Final = "policy.safetensors"
COUNTERS: Final = "counters.json"
GENERATORS: Final = "rng.npz"
DEMONSTRATIONS: Final = "demonstrations.safetensors"
"""Only where there were any."""


def run_prefix(run_id: str) -> str:
    """What the keys of this run begin with in the bucket."""
    return f"{RUNS}{run_id}/"
