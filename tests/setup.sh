#!/usr/bin/env bash
# Makes .venv from uv.lock: finds a Python, brings uv along when the machine has none, installs. Says what is missing by package name.
set -euo pipefail
cd "$(dirname "$0")/.."
cache=${RECOUP_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/recoup}

python=
for candidate in "${PYTHON:-}" python3.13 python3.12 python3.11 python3; do
  [ -n "$candidate" ] && command -v "$candidate" >/dev/null || continue
  if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then python=$candidate; break; fi
done
if [ -z "$python" ]; then
  echo "setup: Python 3.11 or newer is needed and was not found; on Debian 12: apt-get install python3 python3-venv" >&2
  exit 1
fi

if command -v uv >/dev/null; then
  uv=uv
else
  uv=$cache/uv/bin/uv
  if [ ! -x "$uv" ]; then
    echo "setup: bringing uv into $cache/uv" >&2
    if ! "$python" -m venv "$cache/uv"; then
      echo "setup: 'python3 -m venv' failed; on Debian: apt-get install python3-venv" >&2
      exit 1
    fi
    "$cache/uv/bin/pip" install --quiet --disable-pip-version-check 'uv>=0.8'
  fi
fi
echo "setup: installing the locked Python packages into .venv" >&2
# Compiled here, once: where PYTHONDONTWRITEBYTECODE is set, each of the tests' many processes would compile what it imports by itself.
UV_PYTHON_DOWNLOADS=never "$uv" sync --quiet --frozen --compile-bytecode --python "$("$python" -c 'import sys; print(sys.executable)')"
.venv/bin/python -m compileall -q operator tests tools
touch .venv/.synced
