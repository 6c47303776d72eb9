#!/bin/sh
# Build the wheel, install it in a clean environment with the core dependencies only, and use it there.
# Usage: scripts/check_wheel.sh [PYTHON]   (a Python that has `build`)
set -eu

python=$(command -v "${1:-python3}")
root=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT INT TERM

fail() {
    echo "check_wheel.sh: $1" >&2
    exit 1
}

echo "building"
"$python" -m build --outdir "$work/dist" "$root" >"$work/build.log" 2>&1 || { cat "$work/build.log" >&2; fail "the build failed"; }
wheel=$(ls "$work"/dist/*.whl)

"$python" - "$wheel" <<'PY'
import sys
import zipfile

names = zipfile.ZipFile(sys.argv[1]).namelist()
wanted = ["scssl/py.typed", "scssl/report/assets/page.html.j2", "scssl/report/assets/page.css", "scssl/report/assets/page.js"]
missing = [name for name in wanted if name not in names]
if not any(name.startswith("scssl/genes/data/") and not name.endswith(".py") for name in names):
    missing.append("scssl/genes/data/*")
if missing:
    sys.exit(f"check_wheel.sh: not in the wheel: {', '.join(missing)}")
stray = [name for name in names if not name.startswith("scssl") or "__pycache__" in name]
if stray:
    sys.exit(f"check_wheel.sh: does not belong in the wheel: {', '.join(stray)}")
PY

echo "installing $(basename "$wheel") with core dependencies only"
"$python" -m venv "$work/venv"
"$work/venv/bin/python" -m pip install -q --disable-pip-version-check -c "$root/constraints.txt" "$wheel"

# Outside the repository, or its src/ could be what is imported.
cd "$work"
run="$work/venv/bin/scssl"
"$run" --version
"$run" --help >/dev/null
"$run" env
# Not jinja2, which torch needs too.
for extra in matplotlib umap scanpy; do
    if "$work/venv/bin/python" -c "import $extra" 2>/dev/null; then
        fail "$extra came along although it belongs to an extra"
    fi
done
"$work/venv/bin/python" - <<'PY'
from scssl.genes import GenePanel

for name in ("human", "mouse"):
    assert len(GenePanel.builtin(name)) > 15_000, name
PY

expected="pip install 'scssl[demo]'"
code=0
"$run" demo --out "$work/demo" >"$work/demo.out" 2>"$work/demo.err" || code=$?
[ "$code" -eq 2 ] || fail "scssl demo without its extra ended with code $code, not 2: $(cat "$work/demo.err")"
grep -qF "$expected" "$work/demo.err" || fail "scssl demo without its extra did not say: $expected, but: $(cat "$work/demo.err")"
[ "$(wc -l <"$work/demo.err")" -eq 1 ] || fail "scssl demo without its extra said more than one line: $(cat "$work/demo.err")"
[ ! -e "$work/demo" ] || fail "scssl demo without its extra left a folder behind"
echo "wheel is fine"
