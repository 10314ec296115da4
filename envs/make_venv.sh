#!/bin/sh
# Make a virtual environment in $1, or say what is missing.
set -eu
venv=$1
python=${PYTHON:-python3}
if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
    echo "Python 3.11 or newer is needed, but '$python' is $("$python" --version 2>&1)." >&2
    echo "Name another one: make env PYTHON=/path/to/python3.11" >&2
    exit 1
fi
rm -rf "$venv"
if "$python" -m venv "$venv" 2>/dev/null; then exit 0; fi
# Debian and Ubuntu keep the part that installs pip in a package of its own.
rm -rf "$venv"
version=$("$python" -c 'import sys; print("python%d.%d" % sys.version_info[:2])')
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    apt-get update -qq && apt-get install -y -qq "$version-venv"
    "$python" -m venv "$venv"
else
    echo "'$python' cannot make virtual environments. Install the missing part:" >&2
    echo "    sudo apt-get install $version-venv" >&2
    exit 1
fi
