import Foundation
import NIOCore
import NIOHTTP1
import NIOPosix
import NIOSSL

/// Asks the running gateway over its control socket, or over TLS with a token. One request for each connection.
public struct ControlClient: Sendable {
    public let place: ControlPlace

    public init(_ place: ControlPlace) { self.place = place }
    public init(socketPath: String) { self.init(.socket(socketPath)) }

    public func get<Value: Decodable>(_ path: String, as type: Value.Type = Value.self) async throws -> Value {
        try Self.decode(await request(.GET, path), type)
    }
    public func delete<Value: Decodable>(_ path: String, as type: Value.Type = Value.self) async throws -> Value {
        try Self.decode(await request(.DELETE, path), type)
    }
    public func post<Value: Decodable>(_ path: String, as type: Value.Type = Value.self) async throws -> Value {
        try Self.decode(await request(.POST, path), type)
    }
    /// An answer that is a document and no JSON of ours.
    public func document(_ path: String) async throws -> Data { try await request(.GET, path) }
    /// With a body.
    public func send<Value: Decodable>(
        _ method: Method, _ path: String, _ body: some Encodable, as type: Value.Type = Value.self
    ) async throws -> Value {
        let encoder = JSONEncoder()
        encoder.dateEncodingStrategy = .iso8601
        return try Self.decode(await request(HTTPMethod(rawValue: method.rawValue), path, body: try encoder.encode(body)), type)
    }

    public enum Method: String, Sendable { case post = "POST", put = "PUT", patch = "PATCH" }

    /// A name as a part of a path, or as the value in a query.
    public static func escaped(_ name: String) -> String {
        name.addingPercentEncoding(withAllowedCharacters: .alphanumerics.intersection(CharacterSet(charactersIn: Unicode.Scalar(0)..<Unicode.Scalar(128)))) ?? name
    }

    /// Who runs this program, for the gateway's history: the one behind sudo.
    private static var actor: String {
        let name = ProcessInfo.processInfo.environment["SUDO_USER"] ?? NSUserName()
        return name.filter { $0.isASCII && ($0.isLetter || $0.isNumber || "._-@".contains($0)) }
    }

    private static func decode<Value: Decodable>(_ data: Data, _ type: Value.Type) throws -> Value {
        let decoder = JSONDecoder()
        decoder.dateDecodingStrategy = .iso8601
        do { return try decoder.decode(type, from: data) } catch {
            throw ControlError.failed("the gateway's answer cannot be read (is it another version?): \(error)")
        }
    }

    /// The body of a 200; anything else is an error with the gateway's words.
    func request(_ method: HTTPMethod, _ path: String, body: Data = Data()) async throws -> Data {
        let channel: any Channel
        let tls = try place.tls()
        let promise = MultiThreadedEventLoopGroup.singleton.any().makePromise(of: (HTTPResponseStatus, Data).self)
        do {
            let bootstrap = ClientBootstrap(group: promise.futureResult.eventLoop)
                .connectTimeout(.seconds(5))
                .channelInitializer { [place] channel in
                    channel.eventLoop.makeCompletedFuture {
                        if let tls { try channel.pipeline.syncOperations.addHandler(NIOSSLClientHandler(context: tls, serverHostname: place.serverName)) }
                        try channel.pipeline.syncOperations.addHTTPClientHandlers()
                        try channel.pipeline.syncOperations.addHandler(ResponseCollector(place, promise))
                    }
                }
            channel =
                switch place {
                case .socket(let path): try await bootstrap.connect(unixDomainSocketPath: path).get()
                case .network(let network): try await bootstrap.connect(host: network.host, port: Int(network.port)).get()
                }
        } catch {
            promise.fail(error)
            throw ControlError.unreachable(place, error)
        }
        var headers: HTTPHeaders = [
            "host": place.authority, "connection": "close", "content-length": "\(body.count)", "causeway-actor": Self.actor,
        ]
        if let token = place.token { headers.add(name: "authorization", value: "Bearer \(token)") }
        channel.write(HTTPClientRequestPart.head(HTTPRequestHead(version: .http1_1, method: method, uri: path, headers: headers)), promise: nil)
        if !body.isEmpty { channel.write(HTTPClientRequestPart.body(.byteBuffer(ByteBuffer(bytes: body))), promise: nil) }
        channel.writeAndFlush(HTTPClientRequestPart.end(nil), promise: nil)
        let timeout = channel.eventLoop.scheduleTask(in: .seconds(30)) { promise.fail(ControlError.failed("no answer within 30 s")) }
        defer {
            timeout.cancel()
            channel.close(promise: nil)
        }
        let (status, body) = try await promise.futureResult.get()
        guard status == .ok else {
            struct Failure: Decodable {
                struct Inner: Decodable { var message: String }
                var error: Inner
            }
            let message = (try? JSONDecoder().decode(Failure.self, from: body))?.error.message ?? "\(status)"
            throw status == .notFound ? ControlError.notFound(message) : ControlError.failed(message)
        }
        return body
    }
}

public enum ControlError: Error, CustomStringConvertible {
    case unreachable(ControlPlace, any Error)
    case notFound(String)
    case failed(String)

    public var description: String {
        switch self {
        case .unreachable(.network(let network), let error) where error is NIOSSLError || error is NIOSSLExtraError:
            return """
                no TLS with https://\(network.authority): its certificate is not believed here (--ca-file names the authority that signed it; the name \
                in the address has to be one of the certificate's), or it is no gateway: \(error)
                """
        case .unreachable(.network(let network), let error):
            return "cannot reach the gateway at https://\(network.authority): \(error)"
        case .unreachable(.socket(let path), let error):
            if let error = error as? IOError, error.errnoCode == EACCES {
                return "may not open the control socket \(path): run this as root or as the gateway's user"
            }
            return "cannot reach the gateway at \(path): is it running? (see: systemctl status causeway; --socket names another path)"
        case .notFound(let text), .failed(let text): return text
        }
    }
}

private final class ResponseCollector: ChannelInboundHandler {
    typealias InboundIn = HTTPClientResponsePart

    private let place: ControlPlace
    private let promise: EventLoopPromise<(HTTPResponseStatus, Data)>
    private var status: HTTPResponseStatus?
    private var body = Data()

    init(_ place: ControlPlace, _ promise: EventLoopPromise<(HTTPResponseStatus, Data)>) {
        self.place = place
        self.promise = promise
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        switch unwrapInboundIn(data) {
        case .head(let head): status = head.status
        case .body(let buffer): body.append(contentsOf: buffer.readableBytesView)
        case .end: if let status { promise.succeed((status, body)) }
        }
    }

    func channelInactive(context: ChannelHandlerContext) {
        promise.fail(ControlError.failed("the gateway closed the connection without an answer"))
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        // Some ends of a TLS connection come without a good-bye; what was answered by then stands.
        if let error = error as? NIOSSLError, case .uncleanShutdown = error { return context.close(promise: nil) }
        // Nothing was asked before the two had agreed on keys.
        let isHandshake = if case NIOSSLError.handshakeFailed = error { true } else { error is NIOSSLExtraError }
        promise.fail(isHandshake ? ControlError.unreachable(place, error) : ControlError.failed("the connection to the gateway broke: \(error)"))
        context.close(promise: nil)
    }
}
