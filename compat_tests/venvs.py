"""Virtual environments for the MLflow clients under test, made when needed.

A file ``requirements/NAME.txt`` pins everything one environment holds. Its first line names the Python
versions it fits, the preferred one first: ``# python: 3.11 3.12 3.10``. An environment lives in
``.venvs/NAME-<hash of the file and the interpreter>`` beside the project, so a changed pin makes a new one.

Uses the standard library only: it runs before anything is installed. As a command,
``python3 venvs.py NAME…`` (or ``all``) makes the environments and prints their interpreters.
"""

import fcntl
import glob
import hashlib
import os
import pathlib
import re
import shutil
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
CACHE = pathlib.Path(os.environ.get("GREENROOM_VENVS") or HERE.parent / ".venvs")
REQUIREMENTS = HERE / "requirements"
NEWEST = "3.17.2"


class VenvError(Exception):
    """No interpreter fits, or the packages can't be installed."""


def names():
    """The clients there are requirements for, oldest first."""
    found = [p.name[: -len(".txt")] for p in REQUIREMENTS.glob("[0-9]*.txt")]
    return sorted(found, key=lambda v: [int(x) for x in v.split(".")])


def python(name):
    """The interpreter of environment NAME, which is made first if need be."""
    requirements = REQUIREMENTS / (name + ".txt")
    text = requirements.read_text()
    base = interpreter(name, _wanted(requirements))
    version = _probe(base)
    key = hashlib.sha256((text + version).encode()).hexdigest()[:12]
    folder = CACHE / "{}-{}".format(name, key)
    result = folder / "bin" / "python"
    complete = folder / "complete"
    if complete.exists():
        return str(result)
    CACHE.mkdir(parents=True, exist_ok=True)
    with open(CACHE / (folder.name + ".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not complete.exists():
            _make(folder, base, requirements)
            complete.touch()
    return str(result)


def interpreter(name, wanted):
    """A Python of one of the wanted versions ("3.10"), in that order, that can make environments."""
    for version in wanted:
        for candidate in _candidates(version):
            if _probe(candidate) == version:
                return candidate
    raise VenvError(
        "the environment {} needs Python {} with the modules venv and ensurepip; none was found on PATH or in "
        "~/.pyenv/versions. Install one (Debian: apt-get install python3-venv) or run `make test`, which uses "
        "the newest client only.".format(name, " or ".join(wanted))
    )


def _wanted(requirements):
    first = requirements.read_text().splitlines()[0]
    match = re.fullmatch(r"# python: (\d+\.\d+(?: \d+\.\d+)*)", first)
    if not match:
        raise VenvError("{} does not begin with '# python: 3.x …'".format(requirements))
    return match.group(1).split()


def _candidates(version):
    if version == "{}.{}".format(*sys.version_info[:2]):
        yield sys.executable
    for folder in os.get_exec_path():
        yield os.path.join(folder, "python" + version)
    root = os.environ.get("PYENV_ROOT") or os.path.expanduser("~/.pyenv")
    for path in sorted(glob.glob(os.path.join(root, "versions", version + ".*", "bin", "python"))):
        yield path


_probed = {}


def _probe(path):
    """The version of the interpreter at path, "" if it can't run or can't make environments.

    A pyenv shim exists for versions that are not selected, and then refuses to run."""
    if path not in _probed:
        script = "import sys, venv, ensurepip; print('%d.%d' % sys.version_info[:2])"
        try:
            done = subprocess.run([path, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=300)
            _probed[path] = done.stdout.decode().strip() if done.returncode == 0 else ""
        except (OSError, subprocess.TimeoutExpired):
            _probed[path] = ""
    return _probed[path]


def _make(folder, base, requirements):
    shutil.rmtree(str(folder), ignore_errors=True)
    print("making {}".format(folder), file=sys.stderr, flush=True)
    _run([base, "-m", "venv", str(folder)])
    # --no-deps: the file is a complete freeze, so nothing has to be resolved.
    # --no-compile: most modules are never imported; those that are get compiled then.
    pip = [str(folder / "bin" / "python"), "-m", "pip", "--disable-pip-version-check"]
    _run(pip + ["install", "--quiet", "--no-deps", "--no-compile", "-r", str(requirements)])


def _run(command):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode != 0:
        raise VenvError("{} failed:\n{}".format(" ".join(command), done.stdout.decode(errors="replace")))


def main(arguments):
    try:
        for name in names() if arguments == ["all"] else arguments:
            print(python(name), flush=True)
    except VenvError as error:
        sys.exit("venvs.py: {}".format(error))


if __name__ == "__main__":
    main(sys.argv[1:])
