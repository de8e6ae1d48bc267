"""verl's driver as one of our processes: `python -m rl.verl_worker --config-path FOLDER --config-name verl`.

Ends with the launcher; otherwise runs verl's `main_ppo` with unchanged arguments.
"""

import runpy

from training.places import follow_launcher

if __name__ == "__main__":
    follow_launcher()
    runpy.run_module("verl.trainer.main_ppo", run_name="__main__", alter_sys=True)
