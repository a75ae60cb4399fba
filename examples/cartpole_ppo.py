"""PPO of stable-baselines3 learns CartPole, of which a PC steps eight at once: one message each way for all of them.

On the PC:                          ac-bridge serve-env --env CartPole-v1 --num-envs 8
Beside the receiver, whose folder is work:  python -m examples.cartpole_ppo work
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
    parser = argparse.ArgumentParser(prog="python -m examples.cartpole_ppo", description="PPO on a PC's CartPoles")
    parser.add_argument("folder", type=Path, help="of the receiver")
    parser.add_argument("--steps", type=int, default=100_000)
    options = parser.parse_args()

    env = VecMonitor(RemoteVecEnv(options.folder / CALLS, "CartPole-v1", 8))
    model = PPO("MlpPolicy", env, n_steps=32, batch_size=256, n_epochs=20, gamma=0.98, gae_lambda=0.8,
                learning_rate=lambda left: 1e-3 * left, device="cpu", seed=1, verbose=1)  # fmt: skip
    learn(model, env, options.steps)


if __name__ == "__main__":
    main()
