"""PPO of stable-baselines3 learns CarRacing by its pictures, of which a PC steps four at once.

On the PC (pip install "gymnasium[box2d]"):  ac-bridge serve-env --env CarRacing-v3 --num-envs 4
Beside the receiver, whose folder is work:  python -m examples.car_racing_ppo work
"""

import argparse
from pathlib import Path

from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import VecFrameStack, VecMonitor

from examples.going_on import learn
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
    learn(model, env, options.steps)


if __name__ == "__main__":
    main()
