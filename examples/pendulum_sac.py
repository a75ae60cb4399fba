"""SAC of stable-baselines3 learns Pendulum, which a PC steps.

On the PC:                          ac-bridge serve-env --env Pendulum-v1
Beside the receiver, whose folder is work:  python -m examples.pendulum_sac work
"""

import argparse
from pathlib import Path

import numpy as np
from stable_baselines3 import SAC
from stable_baselines3.common.vec_env import VecMonitor

from train_cloud.remote.errors import RemoteEnvError
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
    while (left := options.steps - model.num_timesteps) > 0:
        try:
            model.learn(left, reset_num_timesteps=False, log_interval=10)
        except RemoteEnvError as error:
            if not error.is_recoverable:
                raise
            print(f"{error} Waiting for it.")
            # Given anew, it is reset before it is stepped: a new episode begins, on the PC that comes back.
            model.set_env(env)
    newest = list(model.ep_info_buffer or ())[-10:]
    print(f"mean return of the last 10 episodes: {np.mean([one['r'] for one in newest]):.0f}")
    env.close()


if __name__ == "__main__":
    main()
