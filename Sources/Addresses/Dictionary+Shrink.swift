extension Dictionary {
    /// A dictionary keeps room for the most entries that it ever had. After a crowd has left, this gives the room back; otherwise it
    /// does nothing.
    public mutating func shrinkIfSparse() {
        guard capacity > 256, count * 4 < capacity else { return }
        self = Dictionary(uniqueKeysWithValues: map { ($0.key, $0.value) })
    }
}
