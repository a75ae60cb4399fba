"""Learning by stable-baselines3 over the environments of a PC, which may go and come back."""

import numpy as np
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import VecEnv

from train_cloud.remote.errors import RemoteEnvError


def learn(model: BaseAlgorithm, env: VecEnv, steps: int, log_interval: int = 1) -> None:
    """Learn for so many steps in all, whatever happens to the PC meanwhile, and print the newest mean return.

    `env` is what `model` steps, with a VecMonitor in it; it is closed at the end. Raises RemoteEnvError where waiting
    does not help.
    """
    while (left := steps - model.num_timesteps) > 0:
        try:
            model.learn(left, reset_num_timesteps=False, log_interval=log_interval)
        except RemoteEnvError as error:
            if not error.is_recoverable:
                raise
            print(f"{error} Waiting for it.")
            # Given anew, it is reset before it is stepped: new episodes begin, on the PC that comes back.
            model.set_env(env)
    newest = list(model.ep_info_buffer or ())[-10:]
    print(f"mean return of the last 10 episodes: {np.mean([one['r'] for one in newest]):.2f}")
    env.close()
