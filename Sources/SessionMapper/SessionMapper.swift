// SessionMapper
