CREATE TABLE admin_key (id TEXT NOT NULL, name TEXT NOT NULL, role TEXT NOT NULL, secret_sha256 TEXT NOT NULL, created_ms BIGINT NOT NULL, expires_ms BIGINT NOT NULL, revoked_ms BIGINT NOT NULL, PRIMARY KEY (id));
CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL, CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num));
INSERT INTO "alembic_version" VALUES('0002');
CREATE TABLE api_key (id TEXT NOT NULL, tenant TEXT NOT NULL, secret_sha256 TEXT NOT NULL, name TEXT NOT NULL, purpose TEXT NOT NULL, role TEXT NOT NULL, created_ms BIGINT NOT NULL, expires_ms BIGINT NOT NULL, revoked_ms BIGINT NOT NULL, requests_per_minute BIGINT NOT NULL, tokens_per_minute BIGINT NOT NULL, PRIMARY KEY (id));
CREATE TABLE change_counter (id INTEGER NOT NULL, version BIGINT NOT NULL, PRIMARY KEY (id));
INSERT INTO "change_counter" VALUES(1,1);
CREATE TABLE erasure (tenant TEXT NOT NULL, erased_ms BIGINT NOT NULL, PRIMARY KEY (tenant));
CREATE TABLE observation (tenant TEXT NOT NULL, kind TEXT NOT NULL, name TEXT NOT NULL, document_sha256 TEXT NOT NULL, document TEXT NOT NULL, count BIGINT NOT NULL, last_ms BIGINT NOT NULL, PRIMARY KEY (tenant, kind, name, document_sha256));
CREATE INDEX observation_age ON observation (tenant, last_ms);
