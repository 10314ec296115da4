"""A real SLURM on this machine alone: munged, slurmctld, slurmd, and two devices called V100.

    python tests/slurm/single_node.py COMMAND ...     # runs the command while SLURM is up

Needs root on Debian or a relative. Installs slurm-wlm and munge with apt where they are missing and
leaves them installed. All else goes at the end, after failures too: daemons, jobs, configuration,
devices. Where a SLURM is set up already nothing is touched. No systemd, no network but 127.0.0.1.
Where there can be no SLURM the command runs as well, and its tests skip with the reason.
"""

import contextlib
import fcntl
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

STATE = Path("/run/hones-slurm")  # logs, spool, key, devices
CONFIG = Path("/etc/slurm")  # the plugin drops SLURM_CONF inside jobs, so no other place will do
FILES = ("slurm.conf", "gres.conf")
MARK = "# Written by tests/slurm of HONES and removed when its tests end.\n"
DAEMONS = ("munged", "slurmctld", "slurmd")
PACKAGES = ("slurm-wlm", "munge")
PARTITION, FEATURE, RUNTIME_LIMIT = "v100", "v100-32g", 10080  # minutes
SECONDS_TO_START = 60  # of each daemon
UP, MISSING = "HONES_SLURM_IS_UP", "HONES_SLURM_IS_MISSING"  # in the command's environment

# 8 cores and 256 GB are claimed, not had: jobs ask for what real ones ask for.
# The partition that the tests name is not the default one, or its name would prove nothing.
SLURM_CONF = """{mark}ClusterName=hones
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmdPort={node_port}
CommunicationParameters=NoCtldInAddrAny
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={state}/munge.socket
StateSaveLocation={state}/controller
SlurmdSpoolDir={state}/node
SlurmctldPidFile={state}/slurmctld.pid
SlurmdPidFile={state}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SlurmdParameters=config_overrides
AccountingStorageType=accounting_storage/none
EnforcePartLimits=ALL
KillWait=5
MinJobAge=7200
GresTypes=gpu
NodeName={host} NodeAddr=127.0.0.1 CPUs=8 RealMemory=256000 Gres=gpu:v100:2 Feature={feature}
PartitionName=debug Nodes={host} Default=YES MaxTime={runtime}
PartitionName={partition} Nodes={host} MaxTime={runtime}
"""
GRES_CONF = "{mark}AutoDetect=off\nName=gpu Type=v100 File={state}/v100-[0-1]\n"


class NoSlurm(Exception):
    """A real SLURM can't be had here; the text says why."""


def say(command: list[str], **options) -> subprocess.CompletedProcess:
    """Run a command to its end; the caller looks at the status."""
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)


def foreign_daemons() -> list[str]:
    """The names of SLURM daemons that run already. None can be ours: those end with their tests."""
    found = []
    for file in Path("/proc").glob("[0-9]*/comm"):
        with contextlib.suppress(OSError):  # the process has ended
            found.append(file.read_text().strip())
    return sorted({"slurmctld", "slurmd"} & set(found))


def check_machine() -> None:
    """Raise `NoSlurm` where starting one is impossible, or would disturb somebody else's."""
    if not sys.platform.startswith("linux") or os.geteuid() != 0:
        raise NoSlurm("it takes root on Linux")
    if "SLURM_CONF" in os.environ or "SLURM_JOB_ID" in os.environ:
        raise NoSlurm("this shell belongs to a SLURM already (SLURM_CONF or SLURM_JOB_ID is set)")
    for path in (CONFIG / name for name in FILES):
        if path.exists() and not path.read_text().startswith(MARK):
            raise NoSlurm(f"a SLURM is set up here already: {path}")
    if running := foreign_daemons():
        raise NoSlurm(f"a SLURM runs here already: {', '.join(running)}")


def install() -> None:
    """Install what is missing of the daemons."""
    if all(shutil.which(name) for name in DAEMONS):
        return
    if shutil.which("apt-get") is None:
        raise NoSlurm(f"{', '.join(PACKAGES)} are not installed, and there is no apt-get")
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    options = ["-q", "-o", "DPkg::Lock::Timeout=300"]
    for step in (["update"], ["install", "-y", "--no-install-recommends", *PACKAGES]):
        done = say(["apt-get", *options, *step], env=quiet, stdin=subprocess.DEVNULL)
        if done.returncode:
            raise NoSlurm(f"apt-get {step[0]} failed:\n{done.stdout[-1000:]}{done.stderr[-1000:]}")


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that nobody listens on."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def remove_files() -> None:
    """Take away the configuration, if it is ours, and everything else that was written."""
    for path in (CONFIG / name for name in FILES):
        if path.exists() and path.read_text().startswith(MARK):
            path.unlink()
    shutil.rmtree(STATE, ignore_errors=True)


def write_files() -> None:
    """Write the configuration, the key and the devices."""
    for folder in (STATE, STATE / "controller", STATE / "node", CONFIG):
        folder.mkdir(mode=0o755, exist_ok=True)
    try:
        for number in range(2):  # SLURM hands out files; these are /dev/null by another name
            os.mknod(STATE / f"v100-{number}", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    except PermissionError:
        raise NoSlurm("mknod is forbidden here, and SLURM wants a device for each GPU") from None
    key = STATE / "munge.key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o400)
    controller_port, node_port = free_ports(2)
    values = {
        "mark": MARK,
        "host": socket.gethostname().split(".")[0],
        "state": STATE,
        "controller_port": controller_port,
        "node_port": node_port,
        "feature": FEATURE,
        "partition": PARTITION,
        "runtime": RUNTIME_LIMIT,
    }
    for name, text in zip(FILES, (SLURM_CONF, GRES_CONF), strict=True):
        (CONFIG / name).write_text(text.format(**values))


def munge_files() -> list[str]:
    """Where this munged keeps what it needs, so that one of the system is left alone."""
    kinds = {"socket": "socket", "key-file": "key", "seed-file": "seed", "pid-file": "pid"}
    return [f"--{option}={STATE}/munge.{kind}" for option, kind in kinds.items()]


def munged_is_up() -> bool:
    here = f"--socket={STATE}/munge.socket"
    credential = say(["munge", here, "--no-input"])
    return say(["unmunge", here], input=credential.stdout).returncode == 0


def slurmctld_is_up() -> bool:
    return "is UP" in say(["scontrol", "ping"]).stdout


def slurmd_is_up() -> bool:
    return set(say(["sinfo", "--noheader", "--format=%T"]).stdout.split()) == {"idle"}


def start(name: str, arguments: list[str], is_up: Callable[[], bool]) -> subprocess.Popen:
    """Start a daemon and wait until it answers. It ends with this process, however that ends."""
    log = STATE / f"{name}.log"
    with log.open("w") as stream:
        daemon = subprocess.Popen(
            ["setpriv", "--pdeathsig", "TERM", name, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
        )
    deadline = time.monotonic() + SECONDS_TO_START
    while not is_up():
        if daemon.poll() is not None or time.monotonic() > deadline:
            stop(daemon)
            raise RuntimeError(f"{name} did not start:\n{log.read_text()[-3000:]}")
        time.sleep(0.2)
    return daemon


def stop(daemon: subprocess.Popen) -> None:
    daemon.terminate()
    try:
        daemon.wait(20)
    except subprocess.TimeoutExpired:
        daemon.kill()
        daemon.wait()


def cancel_jobs() -> None:
    """Cancel what still runs, and wait for it to go."""
    say(["scancel", "--user=root"])
    for _ in range(60):
        if not say(["squeue", "--noheader"]).stdout.strip():
            return
        time.sleep(0.5)


def kill_left_jobs() -> None:
    """End what is left of jobs: without cgroups SLURM loses a process whose parent ended first."""
    for file in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):  # it has ended
            names = file.read_bytes().split(b"\0")
            if f"{UP}=1".encode() in names and any(n.startswith(b"SLURM_JOB_ID=") for n in names):
                os.kill(int(file.parent.name), signal.SIGKILL)


@contextlib.contextmanager
def single_node() -> Iterator[float]:
    """SLURM is up inside the block; gives the seconds that its start took, without installing.

    Raises `NoSlurm` where there can be none.
    """
    check_machine()
    install()
    with contextlib.ExitStack() as stack:
        lock = stack.enter_context(Path(f"{STATE}.lock").open("w"))
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise NoSlurm("another run of these tests has its SLURM up") from None
        stack.callback(Path(lock.name).unlink)
        begin = time.monotonic()
        remove_files()  # of a run that was killed
        stack.callback(remove_files)
        write_files()
        stack.callback(kill_left_jobs)
        for name, arguments, is_up in (
            ("munged", ["--foreground", *munge_files()], munged_is_up),
            ("slurmctld", ["-D"], slurmctld_is_up),
            ("slurmd", ["-D"], slurmd_is_up),
        ):
            stack.callback(stop, start(name, arguments, is_up))
        stack.callback(cancel_jobs)
        yield time.monotonic() - begin


def left_behind() -> list[str]:
    """What is still there of a SLURM that has ended; munged not, the system may have its own."""
    files = (*(CONFIG / name for name in FILES), STATE)
    return [*(str(path) for path in files if path.exists()), *foreign_daemons()]


def main(command: list[str]) -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that all is taken away again
    begin = time.monotonic()
    try:
        with single_node() as seconds:
            status = subprocess.run(command, env={**os.environ, UP: "1"}, check=False).returncode
            jobs = say(["squeue", "--noheader", "--states=all"]).stdout.splitlines()
    except NoSlurm as reason:
        told = f"\n{'#' * 80}\n# NOTHING IS TESTED ON A REAL SLURM HERE: {reason}\n{'#' * 80}\n"
        print(told, flush=True)
        status = subprocess.run(command, env={**os.environ, MISSING: str(reason)}).returncode
        print(told, flush=True)
        return status
    minutes = (time.monotonic() - begin) / 60
    print(f"SLURM: up after {seconds:.1f} s, {len(jobs)} jobs, {minutes:.1f} minutes in all")
    if left := left_behind():
        print(f"THIS SLURM LEFT BEHIND: {', '.join(left)}", flush=True)
        return status or 1
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
