"""PPO of stable-baselines3 learns CarRacing by its pictures, of which a PC steps four at once.

On the PC (pip install "gymnasium[box2d]"):  ac-bridge serve-env --env CarRacing-v3 --num-envs 4
Beside the receiver, whose folder is work:  python -m examples.car_racing_ppo work
"""

import argparse
from pathlib import Path

import numpy as np
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import VecFrameStack, VecMonitor

from train_cloud.remote.errors import RemoteEnvError
from train_cloud.remote.vec_env import RemoteVecEnv
from train_cloud.run_folder.files import CALLS


def main() -> None:
    """Learn for so many steps, whatever happens to the PC meanwhile."""
    parser = argparse.ArgumentParser(prog="python -m examples.car_racing_ppo", description="PPO on a PC's CarRacing")
    parser.add_argument("folder", type=Path, help="of the receiver")
    parser.add_argument("--steps", type=int, default=500_000)
    parser.add_argument("--episode-steps", type=int, default=1000, help="after which an episode is cut off")
    options = parser.parse_args()

    # The keyword arguments are given to gymnasium.make on the PC. A picture alone shows no speed, two do.
    cars = RemoteVecEnv(options.folder / CALLS, "CarRacing-v3", 4, kwargs={"max_episode_steps": options.episode_steps})
    env = VecFrameStack(VecMonitor(cars), 2)
    model = PPO("CnnPolicy", env, n_steps=128, batch_size=128, n_epochs=4, learning_rate=lambda left: 3e-4 * left,
                use_sde=True, sde_sample_freq=4, seed=1, verbose=1)  # fmt: skip
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
