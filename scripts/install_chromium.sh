#!/bin/sh
# Make sure that a Chromium is there for the browser tests; say so loudly if that cannot be done.
set -eu

for name in chromium chromium-browser google-chrome; do
    if command -v "$name" >/dev/null 2>&1; then
        exit 0
    fi
done

fail() {
    echo "install_chromium.sh: $1" >&2
    echo "The browser tests need Chromium. Install it (Debian: apt-get install chromium) and run make browser again." >&2
    exit 1
}

command -v apt-get >/dev/null 2>&1 || fail "no chromium here, and no apt-get to install it with"
if [ "$(id -u)" -eq 0 ]; then
    as_root=""
elif command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; then
    as_root="sudo -n"
else
    fail "no chromium here, and neither root nor sudo without a password to install it with"
fi

export DEBIAN_FRONTEND=noninteractive
$as_root apt-get update -q >/dev/null || fail "apt-get update failed"
$as_root apt-get install -y -q --no-install-recommends chromium >/dev/null || fail "apt-get install chromium failed"
command -v chromium >/dev/null 2>&1 || fail "apt-get installed the package, but there is no chromium command"
