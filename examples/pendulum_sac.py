"""SAC of stable-baselines3 learns Pendulum, which a PC steps.

On the PC:                          ac-bridge serve-env --env Pendulum-v1
Beside the receiver, whose folder is work:  python -m examples.pendulum_sac work
"""

import argparse
from pathlib import Path

from stable_baselines3 import SAC
from stable_baselines3.common.vec_env import VecMonitor

from examples.going_on import learn
from train_cloud.remote.vec_env import RemoteVecEnv
from train_cloud.run_folder.files import CALLS


def main() -> None:
    """Learn for so many steps, whatever happens to the PC meanwhile."""
    parser = argparse.ArgumentParser(prog="python -m examples.pendulum_sac", description="SAC on a PC's Pendulum")
    parser.add_argument("folder", type=Path, help="of the receiver")
    parser.add_argument("--steps", type=int, default=8000)
    options = parser.parse_args()

    env = VecMonitor(RemoteVecEnv(options.folder / CALLS, "Pendulum-v1"))
    model = SAC("MlpPolicy", env, learning_rate=1e-3, learning_starts=500, device="cpu", seed=1, verbose=1)
    learn(model, env, options.steps, log_interval=10)


if __name__ == "__main__":
    main()
