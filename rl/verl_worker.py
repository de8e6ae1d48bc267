"""verl's driver as a process of ours: `python -m rl.verl_worker --config-path FOLDER --config-name verl`.

Ends with the launcher, and otherwise runs verl's own `main_ppo`, with the arguments as they are.
"""

import runpy

from training.places import follow_launcher

if __name__ == "__main__":
    follow_launcher()
    runpy.run_module("verl.trainer.main_ppo", run_name="__main__", alter_sys=True)
