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

echo "using it"
"$work/venv/bin/python" - <<'PY'
import scssl

scssl.datasets.simulate_atlas(300, 120, n_types=3, n_donors=6, seed=0).write_h5ad("cells.h5ad")
PY
"$run" check cells.h5ad >/dev/null
"$run" corpus build cells.h5ad --out corpus --genes union --obs cell_type --quiet >/dev/null
"$run" pretrain corpus --out model --preset small --epochs 1 --quiet >/dev/null
"$run" embed cells.h5ad --model model --out embedded.h5ad --quiet >/dev/null
"$run" annotate cells.h5ad --model model --reference cells.h5ad --labels cell_type --out named.h5ad --quiet >/dev/null
"$run" similar cells.h5ad --model model --reference corpus --out similar.csv --quiet >/dev/null
"$run" reconstruct cells.h5ad --model model --out rebuilt.h5ad --quiet >/dev/null
"$run" integrate cells.h5ad --model model --batch donor --out joined.h5ad --quiet >/dev/null

# What needs an extra says which, in one line, and leaves nothing behind.
missing() {
    extra=$1
    shift
    code=0
    "$run" "$@" --quiet >"$work/missing.out" 2>"$work/missing.err" || code=$?
    said=$(cat "$work/missing.err")
    [ "$code" -eq 2 ] || fail "scssl $1 without the extra $extra ended with code $code, not 2: $said"
    grep -qF "pip install 'scssl[$extra]'" "$work/missing.err" || fail "scssl $1 did not name the extra $extra, but said: $said"
    [ "$(wc -l <"$work/missing.err")" -eq 1 ] || fail "scssl $1 without the extra $extra said more than one line: $said"
    [ ! -e "$work/left" ] && [ ! -e "$work/left.h5ad" ] && [ ! -e "$work/left.csv" ] && [ ! -e "$work/left.h5mu" ] || fail "scssl $1 left something behind"
}

missing demo demo --out left
missing dask corpus build cells.h5ad --out left --genes union --split-by cell --workers 2
missing faiss similar cells.h5ad --model model --reference corpus --backend faiss --out left.csv
missing integrate integrate cells.h5ad --model model --batch donor --evaluate --out left.h5ad
missing report integrate cells.h5ad --model model --batch donor --figures left --out left.h5ad
missing report reconstruct cells.h5ad --model model --evaluate hidden --figures left --out left.h5ad
missing report report model --out left
missing hub models pull owner/name
missing report compare cells.h5ad --condition condition --control healthy --case disease --donor donor --model model --out left
missing mudata translate cells.h5ad --model model --reference cells.h5ad --to protein --target protein --out left.h5mu
echo "wheel is fine"
