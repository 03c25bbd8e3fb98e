# shellcheck shell=bash
# What the commands beside this file share: talking to the person, packages, the Rust
# toolchain, Pythons, and where httpd keeps its things. Sourced, never run.

apxs="${APXS:-apxs}"
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)"
# shellcheck disable=SC2034 # read by the commands
dist="$root/target/dist"
umask 022 # what is built, served and installed is for httpd's user to read
command_name="${command_name:-apxs/$(basename "$0")}"

# --- talking to the person ------------------------------------------------------------------

say() {
    printf '==> %s\n' "$*" >&2
}

die() {
    printf '%s: %s\n' "$command_name" "$*" >&2
    exit 1
}

# A mistake in the command line itself.
usage_error() {
    printf '%s: %s; see %s --help\n' "$command_name" "$*" "$command_name" >&2
    exit 2
}

# The comment that opens a command is its help.
show_help() {
    sed -n '2,/^[^#]/{/^#/!q; s/^# \{0,1\}//p}' "$0"
    exit 0
}

# The value of an option that needs one: option_value "$@" with the option still in front.
option_value() {
    [[ $# -ge 2 && -n $2 ]] || usage_error "$1 needs a value"
    printf '%s\n' "$2"
}

# --- packages -------------------------------------------------------------------------------

# What a build needs, as `package:why`. httpd comes from apache2-bin and not from apache2, which
# would also start a second web server on port 80.
# shellcheck disable=SC2034 # read by the commands
build_packages=(
    "apache2-bin:httpd itself"
    "apache2-dev:apxs and httpd's headers"
    "libclang-dev:to read those headers for Rust"
    "gcc:to link"
    "libc6-dev:to link"
    "ca-certificates:to fetch crates over TLS"
)

# Prints those of the given `package:why` that are not installed. Where there is no apt, says
# nothing: what is missing there comes to light when it is used.
missing_packages() {
    command -v apt-get >/dev/null || return 0
    local entry
    for entry in "$@"; do
        dpkg-query -W -f '${db:Status-Status}\n' "${entry%%:*}" 2>/dev/null \
            | grep -qx installed || printf '%s\n' "$entry"
    done
}

as_root() {
    if ((EUID == 0)); then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        die "needs root and finds no sudo; run this as root, then try again: $*"
    fi
}

# Installs those of the given `package:why` that are missing.
install_missing() {
    local entries entry packages=()
    mapfile -t entries < <(missing_packages "$@")
    for entry in "${entries[@]}"; do
        say "Installing ${entry%%:*} (${entry#*:})"
        packages+=("${entry%%:*}")
    done
    ((${#packages[@]} == 0)) || apt_install "${packages[@]}"
}

# A fresh machine may be updating itself right now, so wait a while for the lock of apt.
apt_install() {
    local apt=(env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=300)
    as_root "${apt[@]}" update >&2 || say "The package lists could not all be refreshed; going on"
    as_root "${apt[@]}" install --no-install-recommends "$@" >&2 \
        || die "apt-get could not install $*; its messages are above"
}

# Ends the command unless all of the given `package:why` are installed.
require_packages() {
    local entries
    mapfile -t entries < <(missing_packages "$@")
    ((${#entries[@]} == 0)) || die "missing packages; run: apt-get install ${entries[*]%%:*}"
}

# --- the Rust toolchain ---------------------------------------------------------------------

require_rust() {
    local needed found
    needed="$(sed -n 's/^rust-version = "\(.*\)"$/\1/p' "$root/Cargo.toml")"
    command -v cargo >/dev/null || PATH="$PATH:${CARGO_HOME:-$HOME/.cargo}/bin"
    command -v cargo >/dev/null \
        || die "no Rust toolchain; install Rust $needed or newer as https://rustup.rs shows, then run this again"
    found="$(cd "$root" && rustc --version 2>/dev/null)" \
        || die "rustc does not run; choose a toolchain with: rustup default stable"
    found="$(cut -d ' ' -f 2 <<<"$found")"
    printf '%s\n' "$needed" "$found" | sort -V -C \
        || die "Rust $found is too old, $needed is needed; run: rustup update"
}

# --- Pythons --------------------------------------------------------------------------------

# Prints the facts of a Python, a line each (python_facts.py says which); or prints the complaint,
# and fails, when no engine can be built for it.
python_facts() {
    local facts status=0
    facts="$("$1" -I "$root/apxs/python_facts.py" 2>/dev/null </dev/null)" || status=$?
    if ((status == 3)); then
        printf '%s\n' "$facts"
        return 1
    fi
    if ((status != 0)) || (($(wc -l <<<"$facts") != 6)); then
        printf '%s\n' "$1 is not a Python that runs; name another with --python"
        return 1
    fi
    printf '%s\n' "$facts"
}

# Checks a Python and describes it in python, python_tag, python_version, python_prefix,
# python_library and python_program.
use_python() {
    local facts
    facts="$(python_facts "$1")" || die "$facts"
    # shellcheck disable=SC2034 # read by the commands
    {
        read -r python
        read -r python_tag
        read -r python_version
        read -r python_prefix
        read -r python_library
        read -r python_program
    } <<<"$facts"
}

# Prints the Python that is used when none is named: the system's, else the first on PATH that
# an engine can be built for. It has a shared library, for embedded mode.
default_python() {
    local candidate facts
    while read -r candidate; do
        if facts="$(python_facts "$candidate")" && [[ $(sed -n 5p <<<"$facts") != - ]]; then
            printf '%s\n' "$candidate"
            return
        fi
    done < <(printf '/usr/bin/python3\n'; type -aP python3)
    die "no Python with headers and a shared library; install python3-dev, or name one with --python"
}

# --- httpd ----------------------------------------------------------------------------------

# Asks apxs for one of httpd's build values.
httpd_value() {
    "$apxs" -q "$1" 2>/dev/null \
        || die "cannot ask $apxs for $1; install httpd's development package, or set APXS to its apxs"
}

# Puts a file in place in one step, so that an httpd that has the old one mapped keeps it whole.
put_file() {
    local mode="$1" from="$2" to="$3"
    cmp -s "$from" "$to" && return
    install -m "$mode" "$from" "$to.new"
    mv -f "$to.new" "$to"
}

# Puts a link in place in one step; without a file to link to, "-", there is none afterwards.
put_link() {
    local to="$1" link="$2"
    if [[ $to == - ]]; then
        rm -f "$link"
        return
    fi
    ln -sfn "$to" "$link.new"
    mv -fT "$link.new" "$link"
}

# --- the system's httpd ---------------------------------------------------------------------

# Reads `[--destdir DIR]` and sets where install and uninstall work: destdir, modules and
# configuration.
read_destination() {
    destdir=""
    while (($#)); do
        [[ $1 != --*=* ]] || set -- "${1%%=*}" "${1#*=}" "${@:2}"
        case "$1" in
            --destdir)
                destdir="$(option_value "$@")"
                destdir="$(realpath -ms -- "$destdir")"
                shift
                ;;
            -h | --help) show_help ;;
            *) usage_error "unknown argument $1" ;;
        esac
        shift
    done
    modules="$(httpd_value LIBEXECDIR)"
    configuration="$(httpd_value SYSCONFDIR)"
    [[ -n $destdir ]] || check_system
}

check_system() {
    local file owner
    for file in "$modules/mod_wsgi.so" "$configuration/mods-available/wsgi.load"; do
        if owner="$(dpkg -S "$file" 2>/dev/null)"; then
            die "$file belongs to the package ${owner%%:*}; first run: apt-get remove ${owner%%:*}"
        fi
    done
    [[ -w $modules ]] || die "$modules is not writable; run this as root"
}

# Whether httpd is configured as Debian's package apache2 does it, with a2enmod. On a machine that has
# apache2-bin alone it is not, but a package that is made there is for one where it is.
debian_layout() {
    [[ -e /etc/debian_version && $configuration == /etc/apache2 ]] \
        && [[ -n ${destdir:-} || -e /etc/apache2/apache2.conf ]]
}

# The line that loads the module from where it is installed.
wsgi_load() {
    sed "s|@modules@|$modules|" "$root/apxs/wsgi.load"
}
