# Runs in a guest with Debian's kernel: the native tests, with kernel WireGuard at both ends.
for module in wireguard tun veth; do modprobe -q $module; done
uname -sr
[ -d /sys/module/wireguard ] || { echo "this kernel has no wireguard module"; exit 77; }
cd "$INTEROP/native" || exit 1
timeout 330 ./main-job </dev/null
