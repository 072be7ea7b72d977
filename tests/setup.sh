#!/bin/sh
# Makes a Debian machine that has cargo ready to build Syncline. RocksDB is C++ and its bindings are
# made from its headers, so clang and libclang are needed beside Rust. Quick where nothing is missing,
# and then needs no network.
#
#   tests/setup.sh          what a build needs
#   tests/setup.sh --test   and what `make test` needs
set -eu

rust_wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)

fail() {
    printf '%s\n' "setup: $1" >&2
    exit 1
}

have_libclang() {
    [ -n "${LIBCLANG_PATH:-}" ] && return 0
    for lib in /usr/lib/llvm-*/lib/libclang*.so* /usr/lib/*-linux-gnu/libclang*.so* \
        /usr/lib64/libclang*.so* /usr/lib/libclang*.so* /usr/local/lib/libclang*.so*; do
        [ -e "$lib" ] && return 0
    done
    return 1
}

for_tests=no
[ "${1:-}" = --test ] && for_tests=yes

# Where Schemathesis lives, for all clones of this user; and the list it was installed from, put there last.
python=${XDG_CACHE_HOME:-$HOME/.cache}/syncline/python
wants_python=no
if [ "$for_tests" = yes ] && ! cmp -s tests/schemathesis.txt "$python/installed.txt"; then
    wants_python=yes
fi

have_python() {
    python3 -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 10))' >/dev/null 2>&1
}

missing() {
    command -v clang >/dev/null 2>&1 || printf ' clang'
    have_libclang || printf ' libclang-dev'
    command -v c++ >/dev/null 2>&1 || printf ' g++'
    # Tests have a node die at the disk's door with it.
    [ "$for_tests" = no ] || command -v strace >/dev/null 2>&1 || printf ' strace'
    [ "$wants_python" = no ] || have_python || printf ' python3 python3-venv'
}

command -v cargo >/dev/null 2>&1 || fail "cargo is missing: install Rust $rust_wanted or later, see https://rustup.rs"

# The lower of the two versions must be the wanted one.
rust=$(rustc --version | cut -d' ' -f2)
lower=$(printf '%s\n%s\n' "$rust_wanted" "${rust%%-*}" | sort -V | head -n 1)
[ "$lower" = "$rust_wanted" ] || fail "Rust $rust is too old: Syncline needs $rust_wanted or later (rustup update)"

as_root=none
if [ "$(id -u)" = 0 ]; then
    as_root=''
elif command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; then
    as_root='sudo -n'
fi

may_install() {
    [ "$as_root" != none ] && command -v apt-get >/dev/null 2>&1
}

install() {
    $as_root apt-get update -qq || echo "setup: apt-get update failed; trying with the lists that are here" >&2
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

packages=$(missing)
if [ -n "$packages" ]; then
    if ! may_install; then
        fail "missing:$packages. Install them and run make again; on Debian or Ubuntu:
    sudo apt-get install$packages"
    fi
    echo "setup: installing$packages with apt-get (a minute or two)"
    # shellcheck disable=SC2086
    install $packages ||
        fail "apt-get could not install:$packages. Install them by hand and run make again"
    packages=$(missing)
    [ -z "$packages" ] || fail "still missing after apt-get:$packages (Python is needed from 3.10 on)"
fi

if [ "$wants_python" = yes ]; then
    echo "setup: making a Python environment for Schemathesis in $python (half a minute)"
    rm -rf "$python"
    mkdir -p "$python"
    python3 -m venv "$python" || fail "python3 could not make an environment in $python"
    "$python/bin/python" -m pip install --quiet --disable-pip-version-check -r tests/schemathesis.txt ||
        fail "pip could not install tests/schemathesis.txt, see above. It is needed once, and then kept in $python"
    cp tests/schemathesis.txt "$python/installed.txt"
fi

if [ "$for_tests" = yes ]; then
    parts=''
    cargo fmt --version >/dev/null 2>&1 || parts="$parts rustfmt"
    cargo clippy --version >/dev/null 2>&1 || parts="$parts clippy"
    if [ -n "$parts" ]; then
        # shellcheck disable=SC2086
        { command -v rustup >/dev/null 2>&1 && rustup component add $parts; } ||
            fail "missing parts of Rust:$parts. Install them: rustup component add$parts"
    fi
fi

# For the client's tests in a browser. They are skipped without it, and say so, so that nobody has to have it.
if [ "${1:-}" = --test ] && [ ! -x /usr/bin/chromium ] && command -v node >/dev/null 2>&1 && may_install; then
    echo "setup: installing chromium with apt-get (a minute or two)"
    install chromium || echo "setup: apt-get could not install chromium" >&2
fi

target=${CARGO_TARGET_DIR:-target}
if ! ls "$target"/release/build/librocksdb-sys-*/out/librocksdb.a >/dev/null 2>&1; then
    echo "setup: the first build compiles RocksDB, which takes about 15 minutes on two cores; later builds do not"
fi
