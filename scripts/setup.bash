# What the scripts here share: what the system has, and installing what it lacks. Sourced, from the repository's root.

say() { printf '== %s\n' "$*"; }
fail() { printf '%s: %s\n' "$0" "$*" >&2; exit 2; }

# ldconfig is not on every user's path.
PATH="$PATH:/usr/sbin:/sbin:$HOME/.cargo/bin"
ICD_FOLDERS=(/usr/share/vulkan/icd.d /etc/vulkan/icd.d /usr/local/share/vulkan/icd.d)

on_linux() { [[ "$(uname -s)" == Linux ]]; }

# The first driver manifest with this name; empty without one.
icd() { find "${ICD_FOLDERS[@]}" -name "$1" 2>/dev/null | sort | head -n 1 || true; }

has_loader() { [[ "$(ldconfig -p 2>/dev/null)" == *libvulkan.so.1* ]]; }

has_vulkan() { has_loader && [[ -n "${VK_DRIVER_FILES:-${VK_ICD_FILENAMES:-$(icd '*.json')}}" ]]; }

as_root() {
    if [[ "$(id -u)" == 0 ]]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        fail "needs root to run \`$*\`: run it yourself, or set SECATEUR_TEST_ADAPTER=none to test without a GPU driver"
    fi
}

apt_install() {
    say "installing $*"
    as_root apt-get update
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@"
}

apt_knows() { apt-cache show "$1" >/dev/null 2>&1; }

install_lavapipe() {
    command -v apt-get >/dev/null || fail "no Vulkan driver was found. Install Mesa's software driver with
  Fedora:  sudo dnf install mesa-vulkan-drivers vulkan-loader
  Arch:    sudo pacman -S vulkan-swrast vulkan-icd-loader
or your GPU's own driver, or set SECATEUR_TEST_ADAPTER=none to test without one"
    apt_install mesa-vulkan-drivers libvulkan1
}

# Fetches SwiftShader and sets `swiftshader` to its manifest; empty, with the reason said, where Debian's package is not.
fetch_swiftshader() {
    local folder="$TARGET/swiftshader"
    swiftshader="$folder/usr/lib/chromium/vk_swiftshader_icd.json"
    if [[ -f "$swiftshader" ]]; then return; fi
    if ! command -v apt-get >/dev/null || ! command -v dpkg >/dev/null; then
        say "SwiftShader skipped: it is fetched with apt, which this system does not have"
        swiftshader=
        return
    fi
    if ! apt_knows chromium-common && [[ "$(id -u)" == 0 ]]; then apt-get update; fi
    if ! apt_knows chromium-common; then
        say "SwiftShader skipped: apt knows no package chromium-common here (on Debian: sudo apt-get update)"
        swiftshader=
        return
    fi
    say "fetching SwiftShader into $folder"
    mkdir -p "$folder"
    (cd "$folder" && apt-get download chromium-common && dpkg -x chromium-common_*.deb . && rm chromium-common_*.deb)
    [[ -f "$swiftshader" ]] || fail "chromium-common holds no $swiftshader"
}

# Runs from the start of every script that tests: a folder that Mesa wants, and that of the build.
prepare() {
    if [[ -z "${XDG_RUNTIME_DIR:-}" ]]; then
        # Mesa complains on every start without one.
        XDG_RUNTIME_DIR="$(mktemp -d)"
        export XDG_RUNTIME_DIR
        trap 'rm -rf "$XDG_RUNTIME_DIR"' EXIT
    fi
    TARGET="${CARGO_TARGET_DIR:-target}"
    [[ "$TARGET" == /* ]] || TARGET="$PWD/$TARGET"
}

# Says in capitals what a check leaves out.
skipped() { printf '== SKIPPED: %s\n' "$*" >&2; }

# Whether a command is there, if need be from Debian's packages (the rest).
has_or_installs() {
    local command="$1"
    shift
    if command -v "$command" >/dev/null; then return 0; fi
    if ! on_linux || ! command -v apt-get >/dev/null; then return 1; fi
    (apt_install "$@") && command -v "$command" >/dev/null
}

# Fetches Dawn, the WebGPU of Chrome, as a Node package and sets `dawn` to its folder; empty, with the reason said, where it
# cannot be had.
fetch_dawn() {
    local folder="$TARGET/dawn" version=0.6.2
    dawn=
    if [[ ! -d "$folder/node_modules/webgpu" ]]; then
        if ! has_or_installs npm nodejs npm; then
            skipped "Dawn and Tint: they come as a Node package, and there is no npm"
            return
        fi
        say "fetching Dawn into $folder"
        mkdir -p "$folder"
        if ! npm install --silent --no-audit --no-fund --ignore-scripts --prefix "$folder" "webgpu@$version"; then
            skipped "Dawn and Tint: npm could not install webgpu@$version"
            return
        fi
    fi
    dawn="$folder"
}
