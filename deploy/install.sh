#!/usr/bin/env bash
# Installs ocsd on Debian 12: virtual environment, configuration, system user, systemd units. See deploy/README.md.
#
# May be run again at any time, to repair or to upgrade: what is in place is brought up to date, and files in /etc/ocsd
# are never overwritten.
set -eu

usage() {
    cat <<'TEXT'
usage: deploy/install.sh [--prefix DIR] [--destdir DIR] [--python PROGRAM] [--dry-run]

  --prefix DIR      where the program goes (default /opt/ocsd)
  --destdir DIR     build below this folder instead of / (no user is made and no service touched); also $DESTDIR
  --python PROGRAM  Python 3.11 or 3.12 with venv (default: the first that fits, /usr/bin before others)
  --dry-run         only say what would be done

Example: sudo deploy/install.sh
To try it without touching the system: deploy/install.sh --destdir /tmp/root
TEXT
}

prefix=/opt/ocsd
destdir=${DESTDIR:-}
python=
dry_run=
while [ $# -gt 0 ]; do
    case $1 in
    --prefix | --destdir | --python)
        [ $# -ge 2 ] || { echo "install: $1 needs a value" >&2; exit 2; }
        case $1 in
        --prefix) prefix=$2 ;;
        --destdir) destdir=$2 ;;
        --python) python=$2 ;;
        esac
        shift 2
        ;;
    --dry-run) dry_run=yes; shift ;;
    -h | --help) usage; exit 0 ;;
    *) echo "install: unknown argument $1" >&2; usage >&2; exit 2 ;;
    esac
done
case $prefix in /*) ;; *) echo "install: --prefix must be an absolute path" >&2; exit 2 ;; esac
destdir=${destdir%/}
case $destdir in '' | /*) ;; *) destdir=$PWD/$destdir ;; esac

source_dir=$(cd "$(dirname "$0")/.." && pwd)
venv=$prefix/venv
target=$destdir$venv
etc=$destdir/etc/ocsd
units=$destdir/etc/systemd/system

say() { printf 'install: %s\n' "$*"; }
die() { printf 'install: %s\n' "$*" >&2; exit 1; }

# Every command that changes something goes through here.
run() {
    if [ -n "$dry_run" ]; then
        printf 'would run:'
        printf ' %q' "$@"
        printf '\n'
    else
        "$@"
    fi
}

# write MODE FILE: standard input becomes the file, at once and only if it differs.
write() {
    local mode=$1 file=$2 text
    text=$(cat; printf x)
    text=${text%x}
    if [ -f "$file" ] && [ "$(cat "$file"; printf x)" = "${text}x" ]; then
        return 0
    fi
    if [ -n "$dry_run" ]; then
        echo "would write: $file (mode $mode)"
        return 0
    fi
    mkdir -p "$(dirname "$file")"
    (umask 077 && printf '%s' "$text" >"$file.new")
    chmod "$mode" "$file.new"
    mv "$file.new" "$file"
    say "wrote $file"
}

fits() { "$1" -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 13))' 2>/dev/null; }

find_python() {
    local candidate
    # The system's own first: one in somebody's home is out of reach of the services.
    for candidate in ${python:-/usr/bin/python3.12 /usr/bin/python3.11 /usr/bin/python3 python3.12 python3.11}; do
        if command -v "$candidate" >/dev/null && fits "$candidate"; then
            command -v "$candidate"
            return 0
        fi
    done
    return 1
}

# --- what must be there -----------------------------------------------------------------------------------------------

if [ -z "$destdir" ] && [ -z "$dry_run" ] && [ "$(id -u)" -ne 0 ]; then
    die "must run as root (or with --destdir, to build somewhere else)"
fi
if ! chosen=$(find_python); then
    if [ -n "$destdir" ] || [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
        die "needs Python 3.11 or 3.12 with its venv module: apt-get install python3 python3-venv"
    fi
    run apt-get update -qq
    run env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends python3 python3-venv
    chosen=$(find_python) || { [ -n "$dry_run" ] && chosen=python3; } || die "the installed Python does not fit"
fi

# --- system user ------------------------------------------------------------------------------------------------------

if [ -n "$destdir" ]; then
    say "destdir: no system user is made"
elif ! id -u ocsd >/dev/null 2>&1; then
    run useradd --system --user-group --home-dir /var/lib/ocsd --no-create-home --shell /usr/sbin/nologin ocsd
fi

# --- program ----------------------------------------------------------------------------------------------------------

if ! { [ -x "$target/bin/python" ] && "$target/bin/python" -c 'import pip' 2>/dev/null; }; then
    run mkdir -p "$destdir$prefix"
    run "$chosen" -m venv --clear "$target"
fi
pip() { run "$target/bin/python" -m pip --disable-pip-version-check --quiet install "$@"; }
say "installing locked dependencies into $target"
# The build backend first, so that nothing is built with one that the locks do not name.
pip --require-hashes -r "$source_dir/requirements-build.lock"
pip --require-hashes --no-build-isolation --use-pep517 -r "$source_dir/requirements.lock"
# From a copy, because a build leaves its own files beside the sources.
build=$(mktemp -d)
trap 'rm -rf "$build"' EXIT
for item in pyproject.toml README.md LICENSE ocsd pacing telephony; do
    cp -R "$source_dir/$item" "$build/" || die "$source_dir is no source tree of ocsd: $item is missing"
done
pip --no-deps --no-build-isolation --force-reinstall "$build"
if [ -n "$destdir" ] && [ -z "$dry_run" ]; then
    # Scripts name their interpreter: by the path that it has once the folder is the root.
    grep -rlIF "$target" "$target/bin" "$target/pyvenv.cfg" | while read -r file; do
        sed -i "s#$target#$venv#g" "$file"
    done
fi
run mkdir -p "$destdir/usr/local/bin"
run ln -sfn "$venv/bin/ocsd" "$destdir/usr/local/bin/ocsd"

# --- configuration ----------------------------------------------------------------------------------------------------

run mkdir -p "$etc"
if [ -e "$etc/ocsd.toml" ]; then
    say "$etc/ocsd.toml is kept as it is"
else
    # As services, the SIP workers and the media server have units of their own.
    sed -e 's|^# data_dir = .*|data_dir = "/var/lib/ocsd"|' \
        -e 's|^\[telephony\]$|[telephony]\nembedded = false # units of their own: ocsd-telephony, ocsd-media@0\nrun_dir = "/run/ocsd"|' \
        "$source_dir/deploy/example.toml" | write 640 "$etc/ocsd.toml"
fi
if [ ! -e "$etc/environment" ]; then
    write 640 "$etc/environment" <<'TEXT'
# Read by the systemd units of ocsd. Secrets that /etc/ocsd/ocsd.toml names as ${NAME} go here, for example:
# OCSD_TRUNK_PASSWORD=...

# The same as max_legs, sip_host, media_host, rtp_port_first and rtp_port_last, media_servers and media_capacity of
# [telephony]. Each media server is an instance of ocsd-media@, from ocsd-media@0 on.
OCSD_MAX_LEGS=60
OCSD_SIP_HOST=127.0.0.1
OCSD_MEDIA_HOST=127.0.0.1
OCSD_RTP_PORTS=20000-20999
OCSD_MEDIA_SERVERS=1
OCSD_MEDIA_CAPACITY=500
TEXT
fi
if [ -z "$destdir" ]; then
    run chown root:ocsd "$etc" "$etc/ocsd.toml" "$etc/environment"
    run chmod 750 "$etc"
fi

# --- services ---------------------------------------------------------------------------------------------------------

for unit in ocsd-telephony ocsd-media@ ocsd; do
    sed "s#/opt/ocsd/#$prefix/#g" "$source_dir/systemd/$unit.service" | write 644 "$units/$unit.service"
done
write 644 "$destdir/etc/tmpfiles.d/ocsd.conf" < "$source_dir/systemd/tmpfiles.d/ocsd.conf"
if [ -e "$units/ocsd-media.service" ]; then
    # From before there could be several; it serves the same socket as ocsd-media@0, so that only one of them runs.
    say "ocsd-media.service is replaced by ocsd-media@0: at a quiet hour, systemctl disable --now ocsd-media &&"
    say "systemctl enable --now ocsd-media@0, and remove $units/ocsd-media.service"
fi
if [ -z "$destdir" ] && [ -d /run/systemd/system ]; then
    run systemd-tmpfiles --create /etc/tmpfiles.d/ocsd.conf
    run systemctl daemon-reload
else
    say "systemd is not running here (or destdir is set): no daemon-reload"
fi

cat <<TEXT

ocsd is installed. Next:
  1. edit /etc/ocsd/ocsd.toml (and /etc/ocsd/environment); check with: ocsd check /etc/ocsd/ocsd.toml
  2. systemctl enable --now ocsd-telephony ocsd-media@0 ocsd
  3. ocsd ctl status
After an upgrade, in this order, under calls: systemctl restart ocsd; systemctl reload ocsd-media@0, then each other
media server; systemctl reload ocsd-telephony. No conversation ends by it.
TEXT
