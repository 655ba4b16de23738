"""Reads what Bench/table measured from its folder, and prints the table."""
import json, os, re, statistics, sys

folder = sys.argv[1]
lines = []  # what, measured, wanted

def spread(values):
    return statistics.median(values), min(values), max(values)

def row(what, wanted, measured, unit="x", digits=2):
    """wanted: the least of a ratio; measured: median, least, greatest; None: it was not measured."""
    if measured is None:
        lines.append((what, "not measured", f"≥ {wanted}{unit}", ""))
        return
    middle, least, greatest = measured
    text = f"{middle:.{digits}f}{unit} ({least:.{digits}f}-{greatest:.{digits}f})"
    lines.append((what, text, f"≥ {wanted}{unit}", "yes" if middle >= wanted else "NO"))

def read(name):
    path = f"{folder}/{name}"
    if not os.path.exists(path): return None
    with open(path) as file: return file.read()

def kernel_ratios(text):
    """By the heading of each block: name of a contender -> ratio, least, greatest."""
    blocks, heading = {}, None
    for line in (text or "").splitlines():
        found = re.match(r"    (\S.*?) +[\d.]+ ns \([\d.]+-[\d.]+\) +([\d.]+)x \(([\d.]+)-([\d.]+)\)$", line)
        if found and heading: blocks.setdefault(heading, {})[found[1]] = tuple(float(found[n]) for n in (2, 3, 4))
        elif not line.startswith(" "): heading = line
    return blocks

kernels = read("kernels.out")
blocks = kernel_ratios(kernels)
chosen = re.search(r"^chosen at a start here: (.*)$", kernels or "", re.M)
for sessions, wanted in (("many sessions", {1400: 3.5, 64: 5}), ("one session", {1400: 2.3, 64: 2})):
    for size, least in wanted.items():
        row(f"MPPE stateless, {sessions}, {size} octets, against plain C (`Bench/run core`)", least, blocks.get(f"{sessions}, {size} octets", {}).get(chosen[1] if chosen else None))
for size, least in ((1400, 3), (64, 5)):
    for way, heading in (("in", "MPPE to ChaCha20-Poly1305"), ("out", "ChaCha20-Poly1305 to MPPE")):
        row(f"MPPE + AEAD, many sessions, {size} octets, {way}, against plain C + libsodium (`Bench/run core`)", least,
            blocks.get(f"{heading}, many sessions, {size} octets", {}).get("links, in batches of 32"))

def document(name):
    text = read(f"{name}.json")
    return json.loads(text) if text else None

def of_case(report, name, value, upside_down=False):
    """Round by round: the second gateway's value of the first one's (or the other way round)."""
    for case in (report or {}).get("cases", []):
        if case["name"] != name: continue
        first, second = (result["rounds"] for result in case["results"][:2])
        pairs = [(value(b), value(a)) for a, b in zip(first, second)]
        ratios = [(below / above if upside_down else above / below) for above, below in pairs if above and below]
        if ratios: return spread(ratios)
    return None

def packets_per_cpu_second(sample): return sample["received"] / sample["gatewayCPUSeconds"] if sample["gatewayCPUSeconds"] else 0
def bytes_per_cpu_second(sample): return sample["receivedBytes"] / sample["gatewayCPUSeconds"] if sample["gatewayCPUSeconds"] else 0
def rate(sample): return sample["receivedBytes"] / sample["seconds"]

first = document("first")  # ours comes first, the baseline second
for way, name in (("in", "to-hub"), ("back", "from-hub")):
    row(f"gateway, packets for each CPU second, 1400 octets, {way}, against the first one (`causeway bench --compare`)", 4,
        of_case(first, f"UDP 1400 {name}", packets_per_cpu_second, upside_down=True))
simple = document("simple")  # the simple configuration comes first
for way, name in (("in", "to-hub"), ("back", "from-hub")):
    row(f"gateway, packets for each CPU second, 1400 octets, {way}, against raw socket, scalar kernels, libsodium (`causeway bench --compare`)", 2.3,
        of_case(simple, f"UDP 1400 {name}", packets_per_cpu_second))
workers = document("workers")
for way, name in (("in", "to-hub"), ("back", "from-hub")):
    row(f"two workers against one, 64 sessions, TCP, Mbit/s, {way} (`Bench/run workers`)", 1.8, of_case(workers, f"TCP {name}", rate))
    cost = of_case(workers, f"UDP 1400 {name}", packets_per_cpu_second)
    lines.append((f"… packets for each CPU second, UDP, same rate, {way}", f"{cost[0]:.2f}x ({cost[1]:.2f}-{cost[2]:.2f})" if cost else "not measured", "", ""))

reorder = read("reorder.out") or ""
for way in ("to the hub", "from the hub"):
    # Mbit/s in order, reordered, ratio; each with its range.
    found = re.search(rf"^{way} .*? ([\d.]+) \(([\d.]+)-([\d.]+)\)   [\d.]+ / [\d.]+$", reorder, re.M)
    row(f"TCP, 5 % reordered by up to 8 places, against none, {way} (`Bench/reorder`)", 0.9, tuple(float(found[n]) for n in (1, 2, 3)) if found else None)

latency = read("latency.out") or ""
for what, pattern, most in (
    ("a ping through an idle gateway, added to a forward, median (`Bench/latency`)", r"^added +median +([-\d.]+) us", 150),
    ("… at half load", r"^added under load.*median +([-\d.]+) us", None),
):
    found = re.search(pattern, latency, re.M)
    lines.append((what, f"{float(found[1]):.0f} µs" if found else "not measured", f"≤ {most} µs" if most else "",
                  ("yes" if float(found[1]) <= most else "NO") if found and most else ""))

print("| | measured: median (least-greatest) | wanted | reached |\n|---|---|---|---|")
for line in lines: print("| " + " | ".join(line) + " |")
def busy(report):
    limits = {result.get("limit") for case in (report or {}).get("cases", []) for result in case["results"]}
    return "generator" in limits
print()
if chosen: print(f"MPPE kernels: {chosen[1]}.")
for name, report in (("first", first), ("simple", simple), ("workers", workers)):
    if report: print(f"{name}: {'; '.join(c['name'] + ': ' + c['kernels'] + ', ' + c['ioBackend'] for c in report['contenders'])}"
                     + ("; the load generator was the limit of some rates" if busy(report) else "") + ".")
