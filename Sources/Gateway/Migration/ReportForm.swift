import Foundation
import HTTPTypes
import Hummingbird
import MigrationReport
import NIOCore

/// What `GET /v1/migration/report` can be.
enum ReportForm: String, CaseIterable {
    /// One screenful.
    case screen
    case text, json, csv, html

    /// The screen has figures only.
    var listsUsers: Bool { self != .screen }

    func response(_ report: MigrationReport) throws -> Response {
        let (type, bytes): (String, [UInt8]) =
            switch self {
            case .screen: ("text/plain; charset=utf-8", Array(report.statusText().utf8))
            case .text: ("text/plain; charset=utf-8", Array(report.text.utf8))
            case .json: ("application/json", Array(try report.json))
            case .csv: ("text/csv; charset=utf-8", Array(report.csv.utf8))
            case .html: ("text/html; charset=utf-8", Array(report.html.utf8))
            }
        return Response(status: .ok, headers: [.contentType: type], body: ResponseBody(byteBuffer: ByteBuffer(bytes: bytes)))
    }
}
