"""Places where work runs: this machine, Slurm, Ray. One interface (`place`), one file each."""
