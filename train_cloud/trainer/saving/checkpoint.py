"""What a checkpoint holds: made from a learner, and put back into one.

Everything that learning depends on comes back: networks, optimisers, counters, random generators. Where the files lie
and which checkpoint is the newest is manifest.py's; it does not decide when to save.
"""

import hashlib

import msgspec

from train_cloud.run_folder.keys import CHECKPOINTS, COUNTERS, GENERATORS, MODEL, POLICY
from train_cloud.trainer.counters import Counters
from train_cloud.trainer.learning.learner import Learner
from train_cloud.trainer.learning.rng import pack_generators, restore_generators
from train_cloud.trainer.saving.manifest import Checkpoint, CheckpointError, FileEntry, Manifest


def make_checkpoint(learner: Learner, counters: Counters, policy: bytes) -> Checkpoint:
    """The learner's state (networks, optimisers), the counters, the generators' states and the policy, as files."""
    files = {
        MODEL: learner.state(counters),
        POLICY: policy,
        COUNTERS: msgspec.json.format(msgspec.json.encode(counters), indent=2),
        GENERATORS: pack_generators(),
    }
    entries = {name: FileEntry(hashlib.sha256(data).hexdigest(), len(data)) for name, data in files.items()}
    # The digest keeps a folder to one content: an interrupted or a second writer can never mix files into it.
    digest = hashlib.sha256(msgspec.json.encode(entries)).hexdigest()[:8]
    folder = f"{CHECKPOINTS}{counters.steps:012d}-{digest}/"
    return Checkpoint(Manifest(folder=folder, steps=counters.steps, updates=counters.updates, files=entries), files)


def restore_learner(learner: Learner, checkpoint: Checkpoint) -> Counters:
    """Put a freshly made learner and the random generators into the checkpoint's state; returns its counters.

    Raises CheckpointError when the networks do not fit, which is so when the configuration's method or network was
    changed in mid-run.
    """
    try:
        counters = msgspec.json.decode(checkpoint.files[COUNTERS], type=Counters)
        learner.restore(checkpoint.files[MODEL], counters)
        restore_generators(checkpoint.files[GENERATORS])
    except (KeyError, ValueError, RuntimeError, msgspec.MsgspecError) as error:
        raise CheckpointError(
            f"The checkpoint {checkpoint.manifest.folder} does not fit this configuration ({error}). Restore the "
            "method and network that the run began with, or begin a run with another run_id."
        ) from error
    return counters
