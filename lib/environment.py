"""Where a result was made: revision, hardware and versions."""

import os
import platform
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ("lib", "stages", "params.yaml", "dvc.yaml")


def describe() -> dict[str, str | int]:
    """Describe this process: git revision, hardware, its arithmetic, threads, processes, torch and python versions.

    The revision ends in "-dirty" where code or parameters differ from the commit (results, which change in every run,
    do not count) and is "unknown" outside a git checkout. `hardware` is the GPU in use or else the CPU.
    """
    import torch

    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        "revision": revision(),
        "hardware": gpu or cpu(),
        "capability": capability(),
        "threads": torch.get_num_threads(),
        "processes": int(os.environ.get("WORLD_SIZE", 1)),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def revision(root: Path = ROOT) -> str:
    """Commit at `root`, twelve digits, "-dirty" appended where SOURCES differ from it; "unknown" without one."""
    commit = git(root, "rev-parse", "--short=12", "HEAD")
    if commit is None:
        return "unknown"
    return f"{commit}-dirty" if git(root, "status", "--porcelain", "--", *SOURCES) else commit


def git(root: Path, *arguments: str) -> str | None:
    """Output of a git command at `root`; None where it fails or there is no git."""
    try:
        done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def cores() -> int:
    """Cores that this process may use; where the system does not tell, those that exist."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cpu() -> str:
    """Model name of the CPU."""
    return cpuinfo("model name") or platform.processor() or platform.machine()


def capability() -> str:
    """What of the CPU's arithmetic results depend on: the kernels that PyTorch chooses, and units for bfloat16."""
    import torch

    there = (cpuinfo("flags") or cpuinfo("Features")).split()
    units = [unit for unit in ("avx512_bf16", "amx_bf16", "bf16") if unit in there]
    return ", ".join([torch.backends.cpu.get_cpu_capability(), *units])


def cpuinfo(key: str) -> str:
    """What Linux says of the first core under a key; nothing elsewhere."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith(key)), "")
