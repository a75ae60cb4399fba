"""PPO of stable-baselines3 learns CartPole, of which a PC steps eight at once: one message each way for all of them.

On the PC:                          ac-bridge serve-env --env CartPole-v1 --num-envs 8
Beside the receiver, whose folder is work:  python -m examples.cartpole_ppo work
"""

import argparse
from pathlib import Path

import numpy as np
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import VecMonitor

from train_cloud.remote.errors import RemoteEnvError
from train_cloud.remote.vec_env import RemoteVecEnv
from train_cloud.run_folder.files import CALLS


def main() -> None:
    """Learn for so many steps, whatever happens to the PC meanwhile."""
    parser = argparse.ArgumentParser(prog="python -m examples.cartpole_ppo", description="PPO on a PC's CartPoles")
    parser.add_argument("folder", type=Path, help="of the receiver")
    parser.add_argument("--steps", type=int, default=100_000)
    options = parser.parse_args()

    env = VecMonitor(RemoteVecEnv(options.folder / CALLS, "CartPole-v1", 8))
    model = PPO("MlpPolicy", env, n_steps=32, batch_size=256, n_epochs=20, gamma=0.98, gae_lambda=0.8,
                learning_rate=lambda left: 1e-3 * left, device="cpu", seed=1, verbose=1)  # fmt: skip
    while (left := options.steps - model.num_timesteps) > 0:
        try:
            model.learn(left, reset_num_timesteps=False)
        except RemoteEnvError as error:
            if not error.is_recoverable:
                raise
            print(f"{error} Waiting for it.")
            # Given anew, it is reset before it is stepped: new episodes begin, on the PC that comes back.
            model.set_env(env)
    newest = list(model.ep_info_buffer or ())[-10:]
    print(f"mean return of the last 10 episodes: {np.mean([one['r'] for one in newest]):.0f}")
    env.close()


if __name__ == "__main__":
    main()
