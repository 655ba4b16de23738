import Foundation
import HTTPTypes
import Hummingbird
import Migration
import NIOCore
import ServiceLifecycle

//     GET    /v1/events            ?kind=KIND,KIND    server-sent events: what happens from now on
extension ControlAPI {
    /// Entries that wait for a subscriber who is slow; beyond that the oldest are lost, and a `lost` event says how many.
    static let eventBacklog = 1024

    /// - Parameter heartbeat: a comment as often as this, so that both ends notice when the other is gone.
    static func addEvents(to v1: RouterGroup<ControlContext>, _ operations: any Operations, heartbeat: Duration = .seconds(15)) {
        v1.get("events") { request, _ in
            let kinds = try request.uri.queryParameters["kind"].map { try wantedKinds(String($0)) }
            guard let subscription = await operations.subscribe(backlog: eventBacklog) else {
                throw HTTPError(.serviceUnavailable, message: "too many listen already, or the gateway is stopping")
            }
            let body = ResponseBody { writer in
                try await writer.write(ByteBuffer(string: ": events of this gateway from now on\n\n"))
                let beat = Task {
                    while !Task.isCancelled {
                        try? await Task.sleep(for: heartbeat)
                        subscription.wake()
                    }
                }
                defer { beat.cancel() }
                // A gateway that stops does not wait for its listeners.
                try await withGracefulShutdownHandler {
                    for await signal in subscription.signals {
                        let lost = subscription.takeLost()
                        if lost > 0 { try await writer.write(ByteBuffer(string: "event: lost\ndata: {\"count\":\(lost)}\n\n")) }
                        switch signal {
                        case .wake: try await writer.write(ByteBuffer(string: ":\n\n"))
                        case .entry(let entry):
                            let view = EventView(entry)
                            guard kinds?.contains(view.kind) ?? true else { continue }
                            try await writer.write(try text(of: view))
                        }
                    }
                } onGracefulShutdown: {
                    subscription.end()
                }
                try await writer.finish(nil)
            }
            return Response(status: .ok, headers: [.contentType: "text/event-stream", .cacheControl: "no-store"], body: body)
        }
    }

    private static func wantedKinds(_ text: String) throws -> Set<String> {
        let kinds = Set((text.removingPercentEncoding ?? text).split(separator: ",").map(String.init))
        guard let unknown = kinds.subtracting(EventView.kinds).min() else { return kinds }
        throw HTTPError(.badRequest, message: "there is no event \"\(unknown)\": \(EventView.kinds.joined(separator: ", "))")
    }

    private static func text(of view: EventView) throws -> ByteBuffer {
        var buffer = ByteBuffer(string: "id: \(view.number)\nevent: \(view.kind)\ndata: ")
        buffer.writeBytes(try encoder.encode(view))
        buffer.writeString("\n\n")
        return buffer
    }
}
