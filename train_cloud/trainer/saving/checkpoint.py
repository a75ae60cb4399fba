"""What a checkpoint holds: made from a learner, and put back into one.

Everything that learning depends on comes back: networks, optimisers, counters, random generators. Where the files lie
and which checkpoint is the newest is manifest.py's; it does not decide when to save.
"""

import hashlib
import logging

import msgspec

from train_cloud.run_config import RunConfig
from train_cloud.run_folder.keys import CHECKPOINTS, COUNTERS, DEMONSTRATIONS, GENERATORS, MODEL, POLICY
from train_cloud.trainer.counters import Counters
from train_cloud.trainer.learning.learner import Learner
from train_cloud.trainer.learning.rng import pack_generators, restore_generators
from train_cloud.trainer.saving.manifest import Checkpoint, CheckpointError, FileEntry, Manifest

_log = logging.getLogger(__name__)


def make_checkpoint(learner: Learner, counters: Counters, policy: bytes) -> Checkpoint:
    """The learner's state (networks, optimisers), the counters, the generators' states and the policy, as files."""
    files = {
        MODEL: learner.state(counters),
        POLICY: policy,
        COUNTERS: msgspec.json.format(msgspec.json.encode(counters), indent=2),
        GENERATORS: pack_generators(),
    }
    if learner.demonstrations is not None and learner.demonstrations.size():
        files[DEMONSTRATIONS] = learner.demonstrations.saved()
    entries = {name: FileEntry(hashlib.sha256(data).hexdigest(), len(data)) for name, data in files.items()}
    # The digest keeps a folder to one content: an interrupted or a second writer can never mix files into it.
    digest = hashlib.sha256(msgspec.json.encode(entries)).hexdigest()[:8]
    folder = f"{CHECKPOINTS}{counters.steps:012d}-{digest}/"
    return Checkpoint(Manifest(folder=folder, steps=counters.steps, updates=counters.updates, files=entries), files)


def method_and_networks(config: RunConfig) -> str:
    """In words what a checkpoint can be restored into only if it is the same."""
    critics = config.critic_network or config.network
    return f"method {config.method}, network {config.network} and critic_network {critics}"


def restore_learner(learner: Learner, checkpoint: Checkpoint, wanted: str = "", signature: str = "") -> Counters:
    """Put a freshly made learner and the random generators into the checkpoint's state; returns its counters.

    Raises CheckpointError when it was made by something else than `wanted` (see method_and_networks), in another
    environment than that of `signature`, or the networks do not fit.
    """
    folder, advice = checkpoint.manifest.folder, "Restore what the run began with, or begin a run with another run_id."
    try:
        counters = msgspec.json.decode(checkpoint.files[COUNTERS], type=Counters)
        if wanted and counters.made_by not in ("", wanted):
            raise CheckpointError(
                f"The checkpoint {folder} does not fit this configuration: it was made by {counters.made_by}, and "
                f"run.json asks for {wanted}. {advice}"
            )
        if signature and counters.signature not in ("", signature):
            raise CheckpointError(
                f"The checkpoint {folder} does not fit this configuration: it was made in the environment "
                f"{counters.signature!r}, and this one is {signature!r}: its spaces or its kwargs are others. {advice}"
            )
        learner.restore(checkpoint.files[MODEL], counters)
        if learner.demonstrations is not None and DEMONSTRATIONS in checkpoint.files:
            learner.demonstrations.restore(checkpoint.files[DEMONSTRATIONS])
        restore_generators(checkpoint.files[GENERATORS])
    except (KeyError, ValueError, RuntimeError, msgspec.MsgspecError) as error:
        # The libraries list every tensor of every network.
        _log.debug("the checkpoint does not fit", exc_info=True)
        raise CheckpointError(
            f"The checkpoint {folder} does not fit this configuration ({type(error).__name__}): its method, its "
            f"networks or its environment's spaces are others than run.json asks for. {advice}"
        ) from error
    return counters
