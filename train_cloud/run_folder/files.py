"""Files of an instance, by the folders that they lie in, and the variables by which services are told of files."""

from typing import Final

ETC: Final = "/etc/ac-training"
"""What Terraform wrote, and what install.sh made of it."""
VAR: Final = "/var/lib/ac-training"
"""What outlives a reboot: `--folder` of the services."""
RUN: Final = "/run/ac-training"
"""What ends with the boot: secrets, and the notices by which units wake each other; `--run-folder`."""
OPT: Final = "/opt/ac-training"
"""The code and the Python environment."""
LIBRARY: Final = "/usr/local/lib/ac-training"
"""The shell code that works without them."""

RUN_CONFIG: Final = "run.json"
"""Terraform's in ETC; in VAR with the address that only the instance knows."""
INSTANCE_CONFIG: Final = "instance.json"
"""Terraform's, beside run.json in ETC: there on instances only."""
STORE: Final = "store.db"
TLS: Final = "tls.pem"
"""The receiver's key and certificate; a secret."""
CERTIFICATE: Final = "certificate.pem"
"""That of the run's name with its chain, where there is one; new ones take its place while the receiver runs."""
CERTIFICATE_KEY: Final = "certificate_key.pem"
"""Its key; a secret, of which the dashboard's group may know."""
PAIRING: Final = "pairing.txt"
"""The pairing string, there while the receiver listens; a secret."""
CALLS: Final = "calls.sock"
"""Where the receiver takes the trainer's calls of environments on PCs, while it listens."""
DRIVER: Final = "driver.sock"
"""Where the receiver meets the driver of PCs' cars, while it listens."""
DRIVER_LOCK: Final = "driver.lock"
"""Held by that driver while it lives: two would take each other's place for ever."""
EXPERIENCE: Final = "experience.sock"
"""Where it takes what that driver makes of it, as a bridge's."""
LIVE: Final = "live.json"
"""Where the cars are now, while the receiver hears it from their bridges."""
TELEMETRY: Final = "telemetry"
"""Folder of what streaming bridges tell, where it is written."""
DASHBOARD_URL: Final = "dashboard_url"
"""Where the dashboard listens, while it does: an address without any secret."""
TENSORBOARD: Final = "tensorboard"
BUDGET: Final = "budget.json"
"""What one look at the costs leaves to the next; in RUN while VAR is full."""
WARNING: Final = "warning"
"""What the receiver is to tell its bridges: the instance is about to end as idle."""
CURSOR: Final = "journal.cursor"
"""Behind which entry of the journal the last shipment ended."""
BOOT_STEPS: Final = "boot_steps"
"""A line `name<TAB>seconds` for each step of the boot that is done."""

LIFELINE: Final = "lifeline.sh"
"""What outlives a boot that fails; lies beside the code, too."""
TOKEN: Final = "token"
DASHBOARD_TOKEN: Final = "dashboard_token"
"""What the dashboard asks for; a secret."""
WANDB_KEY: Final = "wandb_key"
NOTICE: Final = "notice"
"""EC2 takes the instance back: action and time, a line each."""
REBALANCE: Final = "rebalance"
"""EC2 recommends to rebalance: the time."""
ENDING: Final = "ending"
"""Why the instance ends: a Reason and a sentence, a line each."""
LOOKED: Final = "looked"
"""Life second of the last look at the costs, a whole number."""

FOLDERS: Final = {
    ETC: (RUN_CONFIG, INSTANCE_CONFIG, "boot.env", "units.env"),
    RUN: (TOKEN, DASHBOARD_TOKEN, WANDB_KEY, NOTICE, REBALANCE, ENDING, LOOKED, BUDGET, "launched", "end.lock"),
    VAR: (
        RUN_CONFIG,
        STORE,
        TLS,
        CERTIFICATE,
        CERTIFICATE_KEY,
        PAIRING,
        CALLS,
        DRIVER,
        DRIVER_LOCK,
        EXPERIENCE,
        LIVE,
        TELEMETRY,
        TENSORBOARD,
        BUDGET,
        WARNING,
        CURSOR,
        BOOT_STEPS,
    ),
    OPT: ("code", "code.new", "env", "MANIFEST", "requirements.txt"),
    LIBRARY: ("boot.sh", LIFELINE),
}
"""What lies in each folder, also what only the shell code needs; names that begin with a dot are drafts."""

TOKEN_VARIABLE: Final = "AC_TRAINING_TOKEN_FILE"
"""Names the file with the receiver's bridge token."""
DASHBOARD_TOKEN_VARIABLE: Final = "AC_DASHBOARD_TOKEN_FILE"
"""Names the file with the dashboard's token, where it is not in the folder of the run."""
DASHBOARD_TLS_VARIABLE: Final = "AC_DASHBOARD_TLS_FILE"
"""Names the file with the dashboard's key and certificate, where it is not in the folder of the run."""
WANDB_KEY_VARIABLE: Final = "AC_TRAINING_WANDB_KEY_FILE"
"""Names the file with the trainer's W&B key."""
PATIENCE_VARIABLE: Final = "AC_PATIENCE_SECONDS"
"""How long AWS may refuse or be silent before that counts, s; of the shell code and of Python alike."""
PATIENCE_SECONDS: Final = 900.0
"""Unless it is set: outages of ten minutes happen, and a fresh role is known after one or two."""
