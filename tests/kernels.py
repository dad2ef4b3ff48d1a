"""Run the suite under the kernels of other processors, one setting at a time: `make test-kernels`.

NumPy's and SciPy's OpenBLAS, PyTorch's own kernels and MKL each choose by the processor, and sum in
other orders for it. What the suite claims must hold under each; a claim that holds to the last bit
holds within one setting. A setting that this processor cannot run is named, not run.

    python tests/kernels.py                       all settings, the default suite
    python tests/kernels.py --only ATEN -- -m slow   some settings, other arguments of pytest
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import time
from pathlib import Path

# (variable, value, the instructions of the processor that it asks for)
SETTINGS = [
    ("OPENBLAS_CORETYPE", "Prescott", "sse3|pni"),
    ("OPENBLAS_CORETYPE", "Haswell", "avx2"),
    ("OPENBLAS_CORETYPE", "Zen", "avx2"),
    ("OPENBLAS_CORETYPE", "SkylakeX", "avx512f"),
    ("ATEN_CPU_CAPABILITY", "default", ""),
    ("ATEN_CPU_CAPABILITY", "avx2", "avx2"),
    ("OMP_NUM_THREADS", "1", ""),
    ("OMP_NUM_THREADS", "2", ""),
]
_SEEN = (
    "import numpy, scipy.linalg, torch, threadpoolctl;"
    "print({i.get('architecture') for i in threadpoolctl.threadpool_info()} - {None},"
    " torch.backends.cpu.get_cpu_capability(), torch.get_num_threads())"
)


def instructions() -> set[str]:
    """What the processor can do, by /proc/cpuinfo; empty where there is none."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return set()
    found = re.search(r"^flags\s*:(.*)$", text, re.MULTILINE)
    return set(found.group(1).split()) if found else set()


def missing(asked: str, has: set[str]) -> bool:
    """Whether a setting asks for instructions that the processor is known to lack."""
    return bool(asked and has) and not has & set(asked.split("|"))


def environment(name: str, value: str) -> dict[str, str]:
    """The environment of a setting."""
    env = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"} | os.environ | {name: value}
    return env | {"MKL_NUM_THREADS": value} if name == "OMP_NUM_THREADS" else env


def loaded(env: dict[str, str]) -> str:
    """Which kernels NumPy, SciPy and PyTorch load there, and how many threads; "" if they fail."""
    command = [sys.executable, "-c", _SEEN]
    seen = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    return seen.stdout.strip() if seen.returncode == 0 else ""


def run(env: dict[str, str], arguments: list[str]) -> tuple[bool, str]:
    """Run pytest in an environment; whether it passed, and its closing line."""
    process = subprocess.Popen(
        [sys.executable, "-m", "pytest", *arguments],
        env=env,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[1],
    )
    assert process.stdout is not None
    last, failures = "", False
    for line in process.stdout:
        failures = failures or "= FAILURES =" in line or "= ERRORS =" in line
        if failures:
            print(line, end="", flush=True)
        last = line.strip() or last
    return process.wait() == 0, last.strip("= ")


def main() -> int:
    """Run all settings that fit; 1 where one fails."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="settings with this text in their name")
    parser.add_argument("arguments", nargs="*", default=[], help="of pytest, after --")
    options = parser.parse_args()
    has = instructions()
    rows: list[tuple[str, str, str]] = []
    done: dict[str, tuple[str, str]] = {}
    for name, value, asked in SETTINGS:
        setting = f"{name}={value}"
        if options.only not in setting:
            continue
        if missing(asked, has):
            rows.append((setting, "not run", f"this processor lacks {asked}"))
            continue
        env = environment(name, value)
        kernels = loaded(env)
        print(f"== {setting}: {kernels or 'NumPy, SciPy or PyTorch do not load'}", flush=True)
        if kernels in done:
            other, verdict = done[kernels]
            rows.append((setting, verdict, f"the same kernels as {other}"))
            continue
        start = time.perf_counter()
        passed, closing = run(env, options.arguments) if kernels else (False, "not run")
        verdict = "passed" if passed else "FAILED"
        done[kernels] = setting, verdict
        rows.append((setting, verdict, f"{closing} [{time.perf_counter() - start:.0f} s]"))
    for setting, verdict, said in rows:
        print(f"{setting:32} {verdict:8} {said}")
    return any(verdict == "FAILED" for _, verdict, _ in rows)


if __name__ == "__main__":
    sys.exit(main())
