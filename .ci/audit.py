"""Check the locked packages: their licences against a list, and their known vulnerabilities where there is a network.

The licences come from the metadata of the installed packages, so that this works offline. Vulnerabilities are looked
up by pip-audit for at most a minute; where it, or the service that it asks, gives no answer, that is said, and is no
failure.
"""

import importlib.util
import json
import re
import subprocess
import sys
from importlib.metadata import Distribution, distributions
from pathlib import Path

LOCK = Path(__file__).parent.parent / "requirements.lock"
# licences that allow use, change and distribution, and ask for no more than a notice (MPL: of changes to its own files)
ALLOWED = {
    *(
        "mit",
        "mit license",
        "mit-cmu",
        "0bsd",
        "bsd",
        "bsd license",
        "bsd-2-clause",
        "bsd-3-clause",
        "3-clause bsd license",
        "isc",
        "bsl-1.0",
    ),
    *("isc license iscl", "apache-2.0", "apache 2.0", "apache 2.0 license", "apache software license"),
    *(
        "apache-2.0 with llvm-exception",
        "psf-2.0",
        "python software foundation license",
        "cnri-python",
        "zlib",
        "cc0-1.0",
    ),
    *("mpl-2.0", "mozilla public license 2.0 mpl 2.0", "unlicense", "hpnd"),
}
# CUDA, which torch brings on Linux: free to use, not free software; pairstill neither contains nor distributes it
CUDA = re.compile(r"nvidia-.*|cuda-.*")
SECONDS = 60


def canonical(name: str) -> str:
    """Return the name of a package as the index compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def locked() -> list[str]:
    """Return the names of the locked packages."""
    return [canonical(name) for name in re.findall(r"^([A-Za-z0-9._-]+)==", LOCK.read_text(encoding="utf-8"), re.M)]


def licence(package: Distribution) -> str:
    """Return what the metadata say of a package's licence."""
    metadata = package.metadata
    kinds = [c.split("::")[-1].strip() for c in metadata.get_all("Classifier") or [] if c.startswith("License ::")]
    first_line = (metadata.get("License") or "").strip().split("\n")[0]
    return metadata.get("License-Expression") or " AND ".join(kinds) or first_line


def is_allowed(expression: str) -> bool:
    """Return whether every part of "A AND B", and one of each "A OR B", is allowed."""
    parts = re.split(r"\s+and\s+", re.sub("[()]", "", expression.lower()))
    return all(any(one in ALLOWED for one in re.split(r"\s+or\s+", part)) for part in parts)


def check_licences() -> int:
    """Print the packages whose licence is not on the list, and return how many there are."""
    installed = {canonical(package.metadata["Name"]): package for package in distributions()}
    names = [name for name in locked() if name in installed]
    found = {name: licence(installed[name]) for name in names if not CUDA.fullmatch(name)}
    bad = {name: text for name, text in found.items() if not is_allowed(text)}
    for name, text in bad.items():
        print(
            f"licence: {name} has {text or 'none in its metadata'}, which is not on the list in {Path(__file__).name}"
        )
    skipped = len(locked()) - len(names)
    print(
        f"licences: {len(found) - len(bad)} of {len(found)} packages allowed, {skipped} not installed on this platform"
    )
    return len(bad)


def check_vulnerabilities(auditor: str = "pip_audit", seconds: float = SECONDS) -> int:
    """Let pip-audit look the packages up; return how many have known vulnerabilities, as far as it could ask.

    Args:
        auditor: the module that is run.
        seconds: how long it may take.
    """
    if importlib.util.find_spec(auditor) is None:
        print("vulnerabilities: not checked: pip-audit is not installed")
        return 0
    command = [sys.executable, "-m", auditor, "--requirement", str(LOCK), "--disable-pip", "--require-hashes"]
    options = ["--progress-spinner=off", "--timeout=15", "--format=json"]
    try:
        done = subprocess.run([*command, *options], capture_output=True, text=True, timeout=seconds)
        packages = json.loads(done.stdout)["dependencies"]
    except subprocess.TimeoutExpired:
        print(f"vulnerabilities: not checked: the service did not answer within {seconds:g} s")
        return 0
    except (json.JSONDecodeError, KeyError, TypeError):
        why = (done.stderr.strip().splitlines() or ["it said nothing"])[-1].strip()
        print(f"vulnerabilities: not checked: pip-audit ended without an answer: {why}")
        return 0
    asked = [package for package in packages if "skip_reason" not in package]
    bad = {package["name"]: package["vulns"] for package in asked if package.get("vulns")}
    for name, known in bad.items():
        print(f"vulnerabilities: {name}: {', '.join(one['id'] for one in known)}")
    if asked:
        print(f"vulnerabilities: {len(asked) - len(bad)} of {len(packages)} packages have none that is known")
    else:
        print("vulnerabilities: not checked: the service knows none of the packages")
    return len(bad)


if __name__ == "__main__":
    sys.exit(min(1, check_licences() + check_vulnerabilities()))
