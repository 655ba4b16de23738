import Benchmark
import CLoad
import Testing

@Suite struct HistogramTests {
    @Test func bucketsFollowOneAnotherWithoutAGap() {
        for bucket in 0..<UInt32(CLOAD_BUCKETS) - 1 {
            let start = cload_bucket_start(bucket), next = cload_bucket_start(bucket + 1)
            #expect(cload_bucket(start) == bucket && cload_bucket(next - 1) == bucket && cload_bucket(next) == bucket + 1)
            // Exact at first, then no wider than 1/32 of the least value.
            #expect(start < 64 ? next - start == 1 : (next - start) * 32 <= start)
        }
        #expect(cload_bucket(.max) == UInt32(CLOAD_BUCKETS) - 1)
    }

    @Test func sharesOfKnownValues() {
        var histogram = Histogram()
        #expect(histogram.value(at: 0.5) == nil)
        for value in 1...60 as ClosedRange<UInt64> { histogram.record(value) }
        #expect(histogram.total == 60)
        #expect(histogram.value(at: 0) == 1 && histogram.value(at: 0.5) == 30 && histogram.value(at: 0.99) == 60 && histogram.value(at: 1) == 60)
        // The greatest value of the bucket, never less than what was measured, never more than 1/32 above it.
        histogram.record(1_000_000)
        let top = histogram.value(at: 1)!
        #expect((1_000_000...1_031_250).contains(top))
    }

    @Test func twoCountAsOne() {
        var first = Histogram(), second = Histogram(), both = Histogram()
        for value in stride(from: 1 as UInt64, to: 5_000_000, by: 7_919) {
            if value % 2 == 0 { first.record(value) } else { second.record(value) }
            both.record(value)
        }
        first.add(second)
        #expect(first == both && Histogram(counts: both.counts) == both)
    }
}
