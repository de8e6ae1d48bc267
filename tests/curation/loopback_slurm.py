"""A Slurm on loopback: munged, slurmctld and, for each node, a slurmd of Debian's packages as children of this process.

`with LoopbackSlurm(folder):` brings it up and sets $SLURM_CONF for everything that is started meanwhile; at the end all
daemons are stopped and what they had started is gone. Several nodes are several names and ports of this machine: each
believes to have all its processors and memory. For a shell: `python tests/curation/loopback_slurm.py FOLDER [NODES]`
prints the variable to export and waits for Ctrl-C.
"""

import contextlib
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

NEEDED = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scontrol")
INSTALL = "apt-get install -y --no-install-recommends slurmctld slurmd slurm-client munge"
SYSTEM = "/usr/sbin:/usr/bin:/sbin:/bin"
PATIENCE = 60.0
CONFIGURATION = """
ClusterName=loopback
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ctld}
FirstJobId={first_job}
SlurmUser={user}
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CryptoType=crypto/munge
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_interval=1
ReturnToService=2
SlurmdTimeout=20
MinJobAge=300
KillWait=2
MaxArraySize={max_array}
MaxJobCount=5000
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/%n.log
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
PartitionName=cpu Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""
NODE = "NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs={cpus} RealMemory={megabytes}\n"


def lacking() -> str | None:
    """Why no Slurm can be started here, and what to do; None when one can."""
    if missing := [name for name in NEEDED if not shutil.which(name, path=f"{os.environ['PATH']}:{SYSTEM}")]:
        return f"{', '.join(missing)} not installed: {INSTALL} (or `make test-slurm`)"
    return None if os.geteuid() == 0 else "slurmd starts as root alone"


class LoopbackSlurm:
    """The daemons, in `folder`."""

    def __init__(self, folder: Path, max_array: int = 1001, megabytes: int = 8000, nodes: int = 1):
        self.folder, self.max_array, self.megabytes = folder, max_array, megabytes
        self.host = socket.gethostname().split(".")[0]
        self.nodes = [self.host, *(f"{self.host}-{number}" for number in range(2, nodes + 1))]
        self.daemons: dict[str, subprocess.Popen] = {}

    def __enter__(self) -> "LoopbackSlurm":
        for name in ("state", "spool"):
            (self.folder / name).mkdir(parents=True)
        self.configuration.write_text(self._configuration())
        self._before = {name: os.environ.get(name) for name in ("SLURM_CONF", "PATH")}
        os.environ |= {"SLURM_CONF": str(self.configuration), "PATH": f"{os.environ['PATH']}:{SYSTEM}"}
        try:
            self._start_munge()
            self.start("slurmctld", "slurmctld", "-D", "-i")
            for node in self.nodes:
                self.start_slurmd(node)
            self.wait_for_nodes()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if "slurmctld" in self.daemons:
            with contextlib.suppress(OSError, subprocess.SubprocessError):
                self.ask("scancel", "--user=root")
                self.wait_for(lambda: not self.ask("squeue", "-h"), "an empty queue")
        for daemon in reversed(self.daemons.values()):
            daemon.terminate()
        for daemon in self.daemons.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                daemon.wait(10)
            daemon.kill()
            daemon.wait()
        for name, value in self._before.items():
            os.environ.pop(name, None) if value is None else os.environ.__setitem__(name, value)

    @property
    def configuration(self) -> Path:
        return self.folder / "slurm.conf"

    def start(self, name: str, *command: str) -> None:
        with (self.folder / f"{name}.out").open("ab") as log:
            self.daemons[name] = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)

    def start_slurmd(self, node: str = "") -> None:
        """Start that of `node`, by default of the first, again after it was killed."""
        name = node or self.host
        self.start(f"slurmd-{name}", "slurmd", "-D", "-N", name)

    def kill_slurmd(self, node: str = "") -> None:
        """SIGKILL it; the jobs on the node go on."""
        daemon = self.daemons[f"slurmd-{node or self.host}"]
        daemon.send_signal(signal.SIGKILL)
        daemon.wait()

    def processes(self, node: str) -> list[int]:
        """Process IDs of what jobs have started on `node`, oldest first."""
        signs = {f"SLURM_CONF={self.configuration}".encode(), f"SLURMD_NODENAME={node}".encode()}
        return [pid for pid in sorted(_pids()) if signs <= set(_said(pid, "environ"))]

    def lose(self, node: str) -> None:
        """SIGKILL all that runs on `node`, as a power cut would: slurmd, what supervises its jobs, and these."""
        self.kill_slurmd(node)
        jobs = self.processes(node)
        above = {_parent(pid) for pid in jobs}
        supervisors = [pid for pid in above if _said(pid, "cmdline")[0].startswith(b"slurmstepd")]
        for pid in (*supervisors, *jobs):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def wait_for_nodes(self) -> None:
        """Until all of them are idle."""
        states = ["idle"] * len(self.nodes)
        self.wait_for(lambda: self.ask("sinfo", "-h", "-N", "-o", "%T").split() == states, "idle nodes")

    def ask(self, *command: str) -> str:
        return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False).stdout.strip()

    def _start_munge(self) -> None:
        key, sock = self.folder / "munge.key", self.folder / "munge.socket"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o400)
        files = [f"--{name}={self.folder}/munge.{name.split('-')[0]}" for name in ("pid-file", "log-file", "seed-file")]
        self.start("munged", "munged", "--foreground", "--force", f"--key-file={key}", f"--socket={sock}", *files)
        self.wait_for(sock.exists, "munged")

    def _configuration(self) -> str:
        plain = CONFIGURATION.format(
            host=self.host, folder=self.folder, ctld=_free_port(), user="root", max_array=self.max_array,
            first_job=random.randrange(1, 1_000_000),  # a port of a job on several nodes follows from its number
        )  # fmt: skip
        size = {"cpus": os.cpu_count(), "megabytes": self.megabytes}
        return plain + "".join(NODE.format(node=node, host=self.host, port=_free_port(), **size) for node in self.nodes)

    def wait_for(self, holds, what: str) -> None:
        """Until `holds()` does."""
        end = time.monotonic() + PATIENCE
        while not holds():
            said = "".join((self.folder / f"{name}.out").read_text()[-2000:] for name in self.daemons)
            assert time.monotonic() < end, f"no {what}: {re.sub(r'[^ -~]+', ' ', said)}"
            time.sleep(0.1)


def _pids() -> list[int]:
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdecimal()]


def _said(pid: int, file: str) -> list[bytes]:
    """The strings in such a file of /proc; an empty one when the process has ended."""
    try:
        return Path(f"/proc/{pid}/{file}").read_bytes().split(b"\0")
    except OSError:
        return [b""]


def _parent(pid: int) -> int:
    return int(_said(pid, "stat")[0].rpartition(b")")[2].split()[1])


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


if __name__ == "__main__":
    if why := lacking():
        raise SystemExit(why)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    with LoopbackSlurm(Path(sys.argv[1]), nodes=int("".join(sys.argv[2:]) or 1)):
        print(f"export SLURM_CONF={sys.argv[1]}/slurm.conf", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            signal.pause()
