# Runs in a guest with Debian's kernel, where a missing WireGuard is a failure.
uname -sr
mkdir -p -m 755 /run/wireguard
export CAUSEWAY_KERNEL_WIREGUARD=1 CAUSEWAY_PRIVATE_NETNS=1 NO_COLOR=1
timeout 200 "$CAUSEWAY_TESTS" --testing-library swift-testing --filter KernelBackendTests >/tmp/out 2>&1
status=$?
cat /tmp/out
ran=$(sed -n 's/.*Test run with \([0-9]*\) tests\? .* passed.*/\1/p' /tmp/out)
grep -q 'skipped' /tmp/out && status=1
[ "$status" = 0 ] && [ "${ran:-0}" -gt 3 ] && { echo "$ran passed, 0 failed"; exit 0; }
echo "${ran:-0} passed, 1 failed"
exit 1
