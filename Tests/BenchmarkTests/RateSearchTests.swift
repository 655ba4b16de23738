import Benchmark
import Testing

@Suite struct RateSearchTests {
    /// Runs a search against something that carries what `carries` says.
    private func found(_ search: RateSearch, _ carries: (Double) -> Bool) -> (rate: Double?, trials: Int) {
        var search = search
        while true {
            switch search.next {
            case .trial(let rate): search.report(carried: carries(rate))
            case .done(let rate): return (rate, search.trials)
            }
            guard search.trials < 200 else {
                Issue.record("a search without an end")
                return (nil, 200)
            }
        }
    }

    @Test(arguments: [260.0, 999, 4000, 4001, 31_999, 123_456, 1_900_000])
    func findsACliffToItsPrecision(cliff: Double) throws {
        let (rate, trials) = found(RateSearch(ceiling: 2_000_000)) { $0 <= cliff }
        let highest = try #require(rate)
        #expect(highest <= cliff && highest * 1.05 >= min(cliff, 2_000_000) * 0.999)
        #expect(trials < 50)
    }

    @Test func everythingIsCarried() {
        #expect(found(RateSearch(ceiling: 50_000)) { _ in true }.rate == 50_000)
        #expect(found(RateSearch(from: 4000, ceiling: 1000)) { _ in true }.rate == 1000)
    }

    @Test func nothingIsCarried() {
        #expect(found(RateSearch(ceiling: 2_000_000)) { _ in false }.rate == nil)
    }

    @Test func oneFailureAloneDoesNotCount() {
        var search = RateSearch(from: 1000, ceiling: 1_000_000)
        search.report(carried: false)
        #expect(search.next == .trial(1000))
        search.report(carried: true)
        #expect(search.next == .trial(2000))
        search.report(carried: false)
        search.report(carried: false)
        #expect(search.next == .trial((1000.0 * 2000).squareRoot()))
    }

    /// What was carried while looking, but not when asked again, is given up for a lower rate.
    @Test func aRateThatDoesNotHoldIsLowered() throws {
        var lucky = 2
        let (rate, _) = found(RateSearch(ceiling: 2_000_000)) { rate in
            guard rate > 9000, rate <= 10_000 else { return rate <= 9000 }
            lucky -= 1
            return lucky >= 0
        }
        #expect((8000...9000).contains(try #require(rate)))
    }
}
