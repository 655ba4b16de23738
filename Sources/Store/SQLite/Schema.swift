import GRDB

/// The tables. Migrations are append-only: what was released is never edited, a change is a new one at the end.
///
/// Addresses are blobs of 4 or 16 bytes, times are seconds since the Unix epoch. What the code promises, a constraint here enforces: one live
/// session for an address, one lease for an address, one peer for a key, one phase for a user.
enum Schema {
    static var migrator: DatabaseMigrator {
        var migrator = DatabaseMigrator()
        migrator.registerMigration("1 users, sessions, migration") { db in try db.execute(sql: first) }
        migrator.registerMigration("2 open sessions by number") { db in
            // Among millions that have ended, those that are open are found without walking over the others.
            try db.execute(sql: "CREATE INDEX open_sessions ON sessions (id) WHERE closed_at IS NULL")
        }
        migrator.registerMigration("3 keys of peers that are gone") { db in try db.execute(sql: keys) }
        return migrator
    }

    /// Only the key of a peer that is there is nobody else's: a device whose invitation was withdrawn may be invited again with its key.
    private static let keys = """
        CREATE TABLE newer_links (
            id INTEGER PRIMARY KEY,
            user INTEGER NOT NULL REFERENCES users (id),
            public_key BLOB NOT NULL CHECK (length(public_key) = 32),
            tunnel TEXT NOT NULL,
            allowed_ips TEXT NOT NULL,
            holder TEXT NOT NULL CHECK (holder IN ('gateway', 'user')),
            created_at INTEGER NOT NULL,
            handed_over_at INTEGER CHECK (handed_over_at IS NULL OR holder = 'user'),
            revoked_at INTEGER
        ) STRICT;
        INSERT INTO newer_links SELECT id, user, public_key, tunnel, allowed_ips, holder, created_at, handed_over_at, revoked_at FROM links;
        DROP TABLE links;
        ALTER TABLE newer_links RENAME TO links;
        CREATE INDEX links_by_user ON links (user, id);
        CREATE UNIQUE INDEX live_keys ON links (public_key) WHERE revoked_at IS NULL;
        """

    private static let first = """
        CREATE TABLE gateways (
            id INTEGER PRIMARY KEY,
            name TEXT NOT NULL UNIQUE CHECK (length(name) BETWEEN 1 AND 255),
            alive_at INTEGER NOT NULL
        ) STRICT;

        CREATE TABLE waves (
            id INTEGER PRIMARY KEY,
            name TEXT NOT NULL UNIQUE CHECK (length(name) BETWEEN 1 AND 64),
            state TEXT NOT NULL CHECK (state IN ('planned', 'scheduled', 'running', 'paused', 'done', 'rolled-back')),
            starts_at INTEGER CHECK (starts_at IS NOT NULL OR state <> 'scheduled'),
            resumes_as TEXT,
            invites INTEGER NOT NULL CHECK (invites IN (0, 1)),
            policy TEXT NOT NULL
        ) STRICT;

        CREATE TABLE phase_policies (
            phase TEXT PRIMARY KEY CHECK (phase IN ('legacy', 'invited', 'dual', 'migrated', 'retired')),
            policy TEXT NOT NULL
        ) STRICT, WITHOUT ROWID;

        CREATE TABLE users (
            id INTEGER PRIMARY KEY,
            name TEXT NOT NULL UNIQUE CHECK (length(name) BETWEEN 1 AND 255),
            origin TEXT NOT NULL CHECK (origin IN ('secrets', 'configuration', 'import', 'command', 'radius', 'sight')),
            created_at INTEGER NOT NULL,
            removed_at INTEGER,
            note TEXT NOT NULL DEFAULT '',
            wave INTEGER REFERENCES waves (id),
            phase TEXT NOT NULL DEFAULT 'legacy' CHECK (phase IN ('legacy', 'invited', 'dual', 'migrated', 'retired')),
            phase_since INTEGER NOT NULL,
            mover_kind TEXT NOT NULL DEFAULT 'evidence' CHECK (mover_kind IN ('evidence', 'wave', 'administrator')),
            mover TEXT NOT NULL DEFAULT '',
            legacy_at INTEGER,
            native_since INTEGER,
            native_at INTEGER,
            invited_at INTEGER,
            set_by_hand INTEGER NOT NULL DEFAULT 0 CHECK (set_by_hand IN (0, 1)),
            held INTEGER NOT NULL DEFAULT 0 CHECK (held IN (0, 1)),
            device INTEGER REFERENCES devices (id)
        ) STRICT;
        CREATE INDEX users_by_phase ON users (phase, name) WHERE removed_at IS NULL;
        CREATE INDEX users_by_wave ON users (wave, name) WHERE removed_at IS NULL;
        CREATE INDEX users_by_wave_and_phase ON users (wave, phase, name) WHERE removed_at IS NULL;

        CREATE TABLE devices (
            id INTEGER PRIMARY KEY,
            user INTEGER NOT NULL REFERENCES users (id),
            kind TEXT NOT NULL,
            fingerprint TEXT NOT NULL,
            evidence TEXT NOT NULL,
            first_seen INTEGER NOT NULL,
            last_seen INTEGER NOT NULL,
            logins INTEGER NOT NULL,
            UNIQUE (user, fingerprint)
        ) STRICT;

        CREATE TABLE exemptions (
            user INTEGER PRIMARY KEY REFERENCES users (id),
            until INTEGER NOT NULL,
            reason TEXT NOT NULL,
            administrator TEXT NOT NULL
        ) STRICT;

        CREATE TABLE links (
            id INTEGER PRIMARY KEY,
            user INTEGER NOT NULL REFERENCES users (id),
            public_key BLOB NOT NULL UNIQUE CHECK (length(public_key) = 32),
            tunnel TEXT NOT NULL,
            allowed_ips TEXT NOT NULL,
            holder TEXT NOT NULL CHECK (holder IN ('gateway', 'user')),
            created_at INTEGER NOT NULL,
            handed_over_at INTEGER CHECK (handed_over_at IS NULL OR holder = 'user'),
            revoked_at INTEGER
        ) STRICT;
        CREATE INDEX links_by_user ON links (user, id);

        CREATE TABLE leases (
            address BLOB PRIMARY KEY CHECK (length(address) IN (4, 16)),
            user INTEGER NOT NULL REFERENCES users (id),
            gateway INTEGER NOT NULL REFERENCES gateways (id),
            pool TEXT NOT NULL,
            generation INTEGER NOT NULL,
            used_at INTEGER NOT NULL,
            UNIQUE (user, gateway, pool)
        ) STRICT, WITHOUT ROWID;
        CREATE INDEX leases_by_gateway ON leases (gateway);

        CREATE TABLE sessions (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            gateway INTEGER NOT NULL REFERENCES gateways (id),
            kind TEXT NOT NULL CHECK (kind IN ('pptp', 'native')),
            user INTEGER NOT NULL REFERENCES users (id),
            client BLOB CHECK (length(client) IN (4, 16)),
            address BLOB NOT NULL CHECK (length(address) IN (4, 16)),
            tunnel TEXT NOT NULL,
            device INTEGER REFERENCES devices (id),
            only INTEGER NOT NULL CHECK (only IN (0, 1)),
            opened_at INTEGER NOT NULL,
            seen_at INTEGER NOT NULL,
            closed_at INTEGER,
            cause TEXT CHECK ((cause IS NULL) = (closed_at IS NULL)),
            packets_in INTEGER NOT NULL DEFAULT 0,
            packets_out INTEGER NOT NULL DEFAULT 0,
            bytes_in INTEGER NOT NULL DEFAULT 0,
            bytes_out INTEGER NOT NULL DEFAULT 0
        ) STRICT;
        CREATE UNIQUE INDEX live_address ON sessions (address) WHERE closed_at IS NULL;
        CREATE UNIQUE INDEX live_only ON sessions (user, kind) WHERE closed_at IS NULL AND only = 1;
        CREATE INDEX live_sessions ON sessions (user, kind) WHERE closed_at IS NULL;
        CREATE INDEX sessions_by_user ON sessions (user, id);

        CREATE TABLE traffic_hours (
            user INTEGER NOT NULL REFERENCES users (id),
            kind TEXT NOT NULL CHECK (kind IN ('pptp', 'native')),
            hour INTEGER NOT NULL,
            packets_in INTEGER NOT NULL,
            packets_out INTEGER NOT NULL,
            bytes_in INTEGER NOT NULL,
            bytes_out INTEGER NOT NULL,
            PRIMARY KEY (user, kind, hour)
        ) STRICT, WITHOUT ROWID;
        CREATE TABLE traffic_days (
            kind TEXT NOT NULL CHECK (kind IN ('pptp', 'native')),
            user INTEGER NOT NULL REFERENCES users (id),
            day INTEGER NOT NULL,
            bytes INTEGER NOT NULL,
            PRIMARY KEY (kind, user, day)
        ) STRICT, WITHOUT ROWID;

        CREATE TABLE phase_changes (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            user INTEGER NOT NULL REFERENCES users (id),
            gateway INTEGER NOT NULL REFERENCES gateways (id),
            at INTEGER NOT NULL,
            old TEXT NOT NULL,
            new TEXT NOT NULL CHECK (new <> old),
            mover_kind TEXT NOT NULL,
            mover TEXT NOT NULL,
            reason TEXT NOT NULL
        ) STRICT;
        CREATE INDEX phase_changes_by_user ON phase_changes (user, id);
        CREATE INDEX phase_changes_by_time ON phase_changes (at, old, new);

        CREATE TABLE events (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            at INTEGER NOT NULL,
            gateway INTEGER NOT NULL REFERENCES gateways (id),
            actor TEXT NOT NULL,
            source TEXT NOT NULL,
            kind TEXT NOT NULL,
            user TEXT,
            wave TEXT,
            text TEXT NOT NULL
        ) STRICT;
        CREATE INDEX events_by_user ON events (user, id) WHERE user IS NOT NULL;
        """
}
