// LegacyClient
