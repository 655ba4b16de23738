import Testing

@testable import causeway

@Suite struct SharedTests {
    @Test func bytes() {
        for (count, text): (UInt64, String) in [
            (0, "0 B"), (1, "1 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (1536, "1.5 KiB"), (1_048_575, "1.0 MiB"), (1_048_576, "1.0 MiB"),
            (1_048_000, "1023.4 KiB"), (1 << 30, "1.0 GiB"), (1 << 40, "1.0 TiB"), (1 << 50, "1.0 PiB"), (.max, "16384.0 PiB"),
        ] {
            #expect(byteText(count) == text)
        }
    }

    @Test func durations() {
        for (seconds, text) in [
            (0, "00:00:00"), (7, "00:00:07"), (61, "00:01:01"), (3600, "01:00:00"), (86_399, "23:59:59"), (86_400, "1d 00:00:00"),
            (183_845, "2d 03:04:05"), (100 * 86_400, "100d 00:00:00"),
        ] {
            #expect(durationText(seconds) == text)
        }
    }
}
