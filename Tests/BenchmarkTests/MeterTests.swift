import Testing

@testable import BenchmarkRunner

/// Texts as Linux 6 prints them.
@Suite struct MeterTests {
    @Test func timesOfAProcessWithANameLikeNumbers() {
        let line = "42 (a) 1 (b) S 1 42 42 0 -1 4194560 1 2 3 4 117 25 8 9 20 0 5 0 100 1000 2000"
        #expect(Meter.cpuTicks(stat: line) == 142)
        #expect(Meter.cpuTicks(stat: "42 (short) S 1 2") == 0 && Meter.cpuTicks(stat: "") == 0)
    }

    @Test func datagramsThatFoundAFullBuffer() {
        let text = """
            Icmp: InMsgs InErrors
            Icmp: 3 4
            Udp: InDatagrams NoPorts InErrors OutDatagrams RcvbufErrors SndbufErrors InCsumErrors IgnoredMulti MemErrors
            Udp: 1000 1 17 900 16 2 0 0 0
            UdpLite: InDatagrams NoPorts InErrors OutDatagrams RcvbufErrors
            UdpLite: 9 9 9 9 9
            """
        #expect(Meter.udpDrops(snmp: text) == 16 && Meter.udpDrops(snmp: "") == 0)
    }

    @Test func packetsThatARawSocketLost() {
        let text = """
              sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops
              47: 00000000:002F 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 4711 2 0000000000000000 12
              47: 00000000:002F 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 4712 2 0000000000000000 30
            """
        #expect(Meter.rawDrops(text) == 42 && Meter.rawDrops("") == 0)
    }

    @Test func packetsThatAnInterfaceLost() {
        let text = """
            Inter-|   Receive                                                |  Transmit
             face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
                lo:       0       0    0    0    0     0          0         0        0       0    0    0    0     0       0          0
             pptp0: 1400000    1000    0    5    0     0          0         0  2800000    2000    0   70    0     0       0          0
            """
        #expect(Meter.interfaceDrops(text) == 75 && Meter.interfaceDrops("") == 0)
    }

    @Test func whatTheGatewaySaysOfItself() {
        let log = """
            12:00 info causeway: [Gateway] data path started: 2 workers, avx512 kernels
            12:00 info causeway: [Gateway] GRE comes in through packet rings for 1 address, raw sockets for the rest
            12:00 info listening
            """
        #expect(Bed.io(log: log) == "packet rings" && Bed.io(log: "GRE comes in through raw sockets") == "raw sockets" && Bed.io(log: "GRE comes in through XDP programs at eth0 (the kernel's, copying") == "XDP programs" && Bed.io(log: "") == nil)
        #expect(Bed.kernels(log: log) == "avx512")
        #expect(Bed.kernels(log: "data path failed\n") == nil)
        #expect(Bed.drops(status: #"{"drops": {"source": 3, "too-old": 4}, "sessions": 2}"#) == 7 && Bed.drops(status: "{}") == nil && Bed.drops(status: "no socket") == nil)
    }
}
