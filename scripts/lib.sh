# shellcheck shell=bash
# What the scripts share: running steps, and installing what is missing. Sourced, never run.

# step COMMAND...: says what runs, then runs it.
step() {
    printf '\n== %s\n' "$*"
    "$@"
}

# fail LINE...: says what is wrong on stderr and stops.
fail() {
    printf '%s\n' "$@" >&2
    exit 1
}

# as_root COMMAND...: runs it as root, if we may.
as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        return 1
    fi
}

# need_packages PACKAGE...: installs those Debian packages that are not there yet.
need_packages() {
    local missing=() package
    for package in "$@"; do
        dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q '^install ok' ||
            missing+=("$package")
    done
    [ "${#missing[@]}" -gt 0 ] || return 0
    command -v apt-get >/dev/null ||
        fail "these tools are missing: ${missing[*]}" "hint: install them with your package manager"
    printf 'installing %s\n' "${missing[*]}" >&2
    {
        as_root apt-get update -qq &&
            as_root env DEBIAN_FRONTEND=noninteractive \
                apt-get install -y -qq --no-install-recommends "${missing[@]}"
    } >/dev/null </dev/null ||
        fail "could not install: ${missing[*]}" "hint: as root, apt-get install ${missing[*]}"
}

# need_build_tools: cargo, and a C compiler for the C libraries inside (zstd, AWS-LC).
need_build_tools() {
    command -v cargo >/dev/null || [ ! -x "$HOME/.cargo/bin/cargo" ] || PATH="$HOME/.cargo/bin:$PATH"
    command -v cargo >/dev/null || fail 'cargo is not installed' 'hint: see https://rustup.rs'
    printf 'int main(void) { return 0; }\n' | cc -x c -o /dev/null - 2>/dev/null ||
        need_packages gcc libc6-dev
}

# target_dir: where cargo builds.
target_dir() {
    printf '%s' "${CARGO_TARGET_DIR:-$PWD/target}"
}
