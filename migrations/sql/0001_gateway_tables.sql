CREATE TABLE gateway.api_key (
    key_id UUID NOT NULL,
    tenant_id UUID NOT NULL,
    name TEXT NOT NULL,
    prefix TEXT NOT NULL,
    key_hash BYTEA NOT NULL,
    scopes TEXT[] NOT NULL,
    created_by TEXT NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    expires_at TIMESTAMP WITH TIME ZONE,
    last_used_at TIMESTAMP WITH TIME ZONE,
    revoked_at TIMESTAMP WITH TIME ZONE,
    PRIMARY KEY (key_id),
    UNIQUE (key_hash)
);
CREATE INDEX api_key_of_tenant ON gateway.api_key (tenant_id, created_at, key_id);
COMMENT ON COLUMN gateway.api_key.prefix IS 'first characters, shown so that people can tell keys apart';
CREATE TABLE gateway.customer (
    tenant_id UUID NOT NULL,
    customer_code TEXT COLLATE "C" NOT NULL,
    first_name TEXT,
    last_name TEXT,
    email TEXT,
    phone TEXT,
    language TEXT,
    timezone TEXT,
    birth_date DATE,
    tags TEXT[] DEFAULT '{}' NOT NULL,
    attributes JSONB DEFAULT '{}' NOT NULL,
    consents JSONB DEFAULT '{}' NOT NULL,
    version INTEGER NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE NOT NULL,
    PRIMARY KEY (tenant_id, customer_code)
);
CREATE TABLE gateway.idempotency_key (
    tenant_id UUID NOT NULL,
    caller TEXT NOT NULL,
    key TEXT COLLATE "C" NOT NULL,
    request_hash BYTEA NOT NULL,
    status SMALLINT,
    headers JSONB,
    body BYTEA,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    PRIMARY KEY (tenant_id, caller, key)
);
CREATE INDEX idempotency_key_age ON gateway.idempotency_key (created_at);
COMMENT ON COLUMN gateway.idempotency_key.caller IS 'user or key that sent it';
COMMENT ON COLUMN gateway.idempotency_key.request_hash IS 'of method, path and body';
COMMENT ON COLUMN gateway.idempotency_key.status IS 'null while the first request is still running';
CREATE TABLE gateway.outbox (
    id BIGINT GENERATED ALWAYS AS IDENTITY,
    topic TEXT NOT NULL,
    key TEXT NOT NULL,
    value BYTEA,
    headers JSONB NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    published_at TIMESTAMP WITH TIME ZONE,
    partition INTEGER,
    "offset" BIGINT,
    PRIMARY KEY (id)
);
CREATE INDEX outbox_published_at ON gateway.outbox (published_at) WHERE published_at is not null;
CREATE INDEX outbox_unpublished ON gateway.outbox (id) WHERE published_at is null;
CREATE TABLE gateway.product (
    tenant_id UUID NOT NULL,
    product_key TEXT COLLATE "C" NOT NULL,
    name TEXT,
    family TEXT,
    sub_family TEXT,
    price NUMERIC(18, 4),
    margin NUMERIC(18, 4),
    stock NUMERIC(18, 3),
    active BOOLEAN DEFAULT 'true' NOT NULL,
    tags TEXT[] DEFAULT '{}' NOT NULL,
    attributes JSONB DEFAULT '{}' NOT NULL,
    version INTEGER NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE NOT NULL,
    PRIMARY KEY (tenant_id, product_key)
);
CREATE TABLE gateway.tenant (
    tenant_id UUID NOT NULL,
    name TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status in ('active', 'closed', 'erased')),
    settings JSONB NOT NULL,
    version INTEGER NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    updated_by TEXT NOT NULL,
    closed_at TIMESTAMP WITH TIME ZONE,
    PRIMARY KEY (tenant_id)
);
CREATE TABLE gateway.tenant_settings_history (
    tenant_id UUID NOT NULL,
    version INTEGER NOT NULL,
    settings JSONB NOT NULL,
    changed_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    changed_by TEXT NOT NULL,
    PRIMARY KEY (tenant_id, version)
);
CREATE TABLE gateway.user_account (
    user_id UUID NOT NULL,
    tenant_id UUID,
    username TEXT COLLATE "C" NOT NULL,
    email TEXT NOT NULL,
    password_hash TEXT NOT NULL,
    role TEXT NOT NULL CHECK (role in ('owner', 'admin', 'marketer', 'analyst', 'operator')),
    active BOOLEAN DEFAULT 'true' NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    PRIMARY KEY (user_id),
    CONSTRAINT operator_has_no_tenant CHECK ((role = 'operator') = (tenant_id is null)),
    UNIQUE (username)
);
CREATE INDEX user_account_of_tenant ON gateway.user_account (tenant_id, username);
COMMENT ON COLUMN gateway.user_account.tenant_id IS 'null for a platform operator';
COMMENT ON COLUMN gateway.user_account.username IS 'lower case, unique over all tenants';
CREATE TABLE gateway.refresh_token (
    token_hash BYTEA NOT NULL,
    family_id UUID NOT NULL,
    user_id UUID NOT NULL,
    tenant_id UUID,
    issued_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    expires_at TIMESTAMP WITH TIME ZONE NOT NULL,
    used_at TIMESTAMP WITH TIME ZONE,
    revoked_at TIMESTAMP WITH TIME ZONE,
    PRIMARY KEY (token_hash),
    FOREIGN KEY(user_id) REFERENCES gateway.user_account (user_id) ON DELETE CASCADE
);
CREATE INDEX refresh_token_family ON gateway.refresh_token (family_id);
CREATE INDEX refresh_token_of_user ON gateway.refresh_token (user_id);
