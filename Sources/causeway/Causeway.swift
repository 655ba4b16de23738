import ArgumentParser

@main
struct Causeway: AsyncParsableCommand {
    func run() async throws {}
}
