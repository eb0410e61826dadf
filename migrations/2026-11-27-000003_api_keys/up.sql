-- API keys. Of a key there is only the SHA-256 of its 256 random bits: whoever reads this table can use none of them.
-- For a while after a rotation the previous one still works. `queues` and `names` are lists in JSON, NULL for all.
--
-- A revoked key keeps its row: a table that has had a key never looks like one that never had.
CREATE TABLE IF NOT EXISTS api_keys (
    id             BINARY(16)   NOT NULL,
    name           VARCHAR(128) NOT NULL,
    hash           BINARY(32)   NOT NULL,
    previous_hash  BINARY(32)   NULL,
    previous_until DATETIME(6)  NULL,
    scopes         VARCHAR(255) NOT NULL,
    queues         TEXT         NULL,
    names          TEXT         NULL,
    rate_limit     INT UNSIGNED NULL,
    created_at     DATETIME(6)  NOT NULL,
    created_by     VARCHAR(128) NOT NULL,
    expires_at     DATETIME(6)  NULL,
    last_used_at   DATETIME(6)  NULL,
    revoked_at     DATETIME(6)  NULL,
    PRIMARY KEY (id),
    UNIQUE KEY hash (hash),
    KEY live (revoked_at)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
