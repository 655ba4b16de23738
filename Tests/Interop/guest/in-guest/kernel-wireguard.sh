# Runs in a guest with Debian's kernel: the main job, with kernel WireGuard at both ends.
for module in wireguard tun veth ppp_async ppp_mppe; do modprobe -q $module; done
[ -e /dev/ppp ] || mknod /dev/ppp c 108 0
uname -sr
[ -d /sys/module/wireguard ] || { echo "this kernel has no wireguard"; exit 77; }
timeout 450 "$INTEROP/native/main-job" </dev/null
