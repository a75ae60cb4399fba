"""PPO of stable-baselines3 learns to cross a room of MiniGrid's, a third party's package that only the PC needs.

On the PC (pip install minigrid):    ac-bridge serve-env --env examples.grids:empty_room --num-envs 8
Beside the receiver, whose folder is work:  python -m examples.minigrid_ppo work
"""

import argparse
from pathlib import Path

from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import VecMonitor

from examples.going_on import learn
from train_cloud.remote.vec_env import RemoteVecEnv
from train_cloud.run_folder.files import CALLS


def main() -> None:
    """Learn for so many steps, whatever happens to the PC meanwhile."""
    parser = argparse.ArgumentParser(prog="python -m examples.minigrid_ppo", description="PPO on a PC's MiniGrid")
    parser.add_argument("folder", type=Path, help="of the receiver")
    parser.add_argument("--steps", type=int, default=50_000)
    parser.add_argument("--size", type=int, default=5, help="squares a side")
    options = parser.parse_args()

    # The keyword arguments travel to the PC, and are given to examples.grids.empty_room there.
    rooms = RemoteVecEnv(options.folder / CALLS, "examples.grids:empty_room", 8, kwargs={"size": options.size})
    env = VecMonitor(rooms)
    model = PPO("MlpPolicy", env, n_steps=64, batch_size=256, ent_coef=0.01, device="cpu", seed=1, verbose=1)
    learn(model, env, options.steps)


if __name__ == "__main__":
    main()
