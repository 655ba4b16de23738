# Runs in a guest with Debian's kernel: tests whose WireGuard peer is the kernel's instead of wireguard-go.
for module in wireguard tun veth ppp_async ppp_mppe nf_tables nft_masq nft_nat nft_chain_nat; do modprobe -q $module; done
[ -e /dev/ppp ] || mknod /dev/ppp c 108 0
uname -sr
[ -d /sys/module/wireguard ] || { echo "this kernel has no wireguard"; exit 77; }
failed=0
for name in $IN_GUEST; do
    echo "-- $name"
    timeout 500 "$INTEROP/native/$name" </dev/null || failed=1
done
exit $failed
