CREATE TABLE rfm.applied_offset (
    topic TEXT NOT NULL,
    partition INTEGER NOT NULL,
    next_offset BIGINT NOT NULL,
    applied_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    PRIMARY KEY (topic, partition)
);
CREATE TABLE rfm.customer (
    tenant_id UUID NOT NULL,
    customer_code TEXT COLLATE "C" NOT NULL,
    code_hash BYTEA NOT NULL,
    master_version INTEGER,
    created_at TIMESTAMP WITH TIME ZONE,
    first_name TEXT,
    last_name TEXT,
    email TEXT,
    phone TEXT,
    language TEXT,
    tags TEXT[] DEFAULT '{}' NOT NULL,
    frequency INTEGER DEFAULT '0' NOT NULL,
    monetary NUMERIC(24, 4) DEFAULT '0' NOT NULL,
    first_order_at TIMESTAMP WITH TIME ZONE,
    last_order_at TIMESTAMP WITH TIME ZONE,
    last_order_day DATE,
    r SMALLINT,
    f SMALLINT,
    m SMALLINT,
    segment TEXT DEFAULT 'prospect' NOT NULL,
    segment_since TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    PRIMARY KEY (tenant_id, customer_code)
);
CREATE INDEX customer_by_hash ON rfm.customer (tenant_id, code_hash);
CREATE INDEX customer_by_last_order ON rfm.customer (tenant_id, last_order_at, customer_code);
CREATE INDEX customer_by_segment ON rfm.customer (tenant_id, segment, customer_code);
CREATE INDEX customer_by_spend ON rfm.customer (tenant_id, monetary, customer_code);
COMMENT ON TABLE rfm.customer IS 'One row per customer that exists: identity for search, values, scores. Erased people have none.';
CREATE TABLE rfm.customer_product (
    tenant_id UUID NOT NULL,
    customer_code TEXT COLLATE "C" NOT NULL,
    product_key TEXT COLLATE "C" NOT NULL,
    orders INTEGER NOT NULL,
    units NUMERIC(24, 3) NOT NULL,
    amount NUMERIC(24, 4) NOT NULL,
    spend_weight NUMERIC NOT NULL,
    PRIMARY KEY (tenant_id, customer_code, product_key)
);
COMMENT ON TABLE rfm.customer_product IS 'Net contributions per customer and product; spend_weight decays with a half-life of 180 days.';
CREATE TABLE rfm.cutoffs (
    tenant_id UUID NOT NULL,
    method TEXT NOT NULL,
    reference_date DATE NOT NULL,
    customers INTEGER NOT NULL,
    recency_days NUMERIC[] NOT NULL,
    frequency NUMERIC[] NOT NULL,
    monetary NUMERIC[] NOT NULL,
    average_basket NUMERIC[] NOT NULL,
    computed_at TIMESTAMP WITH TIME ZONE NOT NULL,
    PRIMARY KEY (tenant_id)
);
COMMENT ON TABLE rfm.cutoffs IS 'Current bounds: four per axis, two terciles of the average basket; empty without a counting order.';
CREATE TABLE rfm.day (
    tenant_id UUID NOT NULL,
    day DATE NOT NULL,
    orders INTEGER NOT NULL,
    units NUMERIC(24, 3) NOT NULL,
    revenue NUMERIC(24, 4) NOT NULL,
    PRIMARY KEY (tenant_id, day)
);
CREATE TABLE rfm.erasure (
    tenant_id UUID NOT NULL,
    code_hash BYTEA NOT NULL,
    erased_at TIMESTAMP WITH TIME ZONE NOT NULL,
    pseudonym TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (tenant_id, code_hash, erased_at)
);
CREATE UNIQUE INDEX erasure_pseudonym ON rfm.erasure (tenant_id, pseudonym);
COMMENT ON TABLE rfm.erasure IS 'Sales made up to erased_at by the code with this hash stand in the ledger under the pseudonym.';
CREATE TABLE rfm.outbox (
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
CREATE INDEX outbox_published_at ON rfm.outbox (published_at) WHERE published_at is not null;
CREATE INDEX outbox_unpublished ON rfm.outbox (id) WHERE published_at is null;
CREATE TABLE rfm.product (
    tenant_id UUID NOT NULL,
    product_key TEXT COLLATE "C" NOT NULL,
    master_version INTEGER,
    name TEXT,
    family TEXT,
    orders INTEGER DEFAULT '0' NOT NULL,
    units NUMERIC(24, 3) DEFAULT '0' NOT NULL,
    revenue NUMERIC(24, 4) DEFAULT '0' NOT NULL,
    units_weight NUMERIC DEFAULT '0' NOT NULL,
    PRIMARY KEY (tenant_id, product_key)
);
COMMENT ON TABLE rfm.product IS 'Net contributions per product; units_weight decays with a half-life of 90 days.';
CREATE TABLE rfm.sale (
    tenant_id UUID NOT NULL,
    sale_id TEXT COLLATE "C" NOT NULL,
    recorded BOOLEAN NOT NULL,
    customer_code TEXT COLLATE "C",
    sold_at TIMESTAMP WITH TIME ZONE,
    day DATE,
    channel TEXT,
    currency TEXT,
    gross NUMERIC(18, 4) DEFAULT '0' NOT NULL,
    net NUMERIC(18, 4) DEFAULT '0' NOT NULL,
    cancelled BOOLEAN DEFAULT 'false' NOT NULL,
    returned BOOLEAN DEFAULT 'false' NOT NULL,
    event_time TIMESTAMP WITH TIME ZONE,
    event_id TEXT,
    product_keys TEXT[] COLLATE "C",
    labels TEXT[],
    quantities NUMERIC(18, 3)[],
    unit_prices NUMERIC(18, 4)[],
    discounts NUMERIC(18, 4)[],
    amounts NUMERIC(18, 4)[],
    metadata JSONB,
    PRIMARY KEY (tenant_id, sale_id)
);
CREATE INDEX sale_by_time ON rfm.sale (tenant_id, sold_at, sale_id);
CREATE INDEX sale_of_customer ON rfm.sale (tenant_id, customer_code, sold_at, sale_id);
COMMENT ON TABLE rfm.sale IS 'The ledger: one row a sale with its lines as parallel arrays; recorded = false waits for its sale.';
CREATE TABLE rfm.sale_cancellation (
    tenant_id UUID NOT NULL,
    sale_id TEXT COLLATE "C" NOT NULL,
    cancelled_at TIMESTAMP WITH TIME ZONE NOT NULL,
    reason TEXT,
    event_time TIMESTAMP WITH TIME ZONE NOT NULL,
    event_id TEXT NOT NULL,
    PRIMARY KEY (tenant_id, sale_id)
);
CREATE TABLE rfm.sale_return (
    tenant_id UUID NOT NULL,
    return_id TEXT COLLATE "C" NOT NULL,
    sale_id TEXT COLLATE "C" NOT NULL,
    returned_at TIMESTAMP WITH TIME ZONE NOT NULL,
    event_time TIMESTAMP WITH TIME ZONE NOT NULL,
    event_id TEXT NOT NULL,
    product_keys TEXT[] COLLATE "C" NOT NULL,
    quantities NUMERIC(18, 3)[] NOT NULL,
    amounts NUMERIC(18, 4)[] NOT NULL,
    PRIMARY KEY (tenant_id, return_id)
);
CREATE INDEX sale_return_of_sale ON rfm.sale_return (tenant_id, sale_id);
CREATE TABLE rfm.score_request (
    id BIGINT GENERATED ALWAYS AS IDENTITY,
    tenant_id UUID NOT NULL,
    PRIMARY KEY (id)
);
CREATE INDEX score_request_of_tenant ON rfm.score_request (tenant_id, id);
COMMENT ON TABLE rfm.score_request IS 'Appended by each batch that changed a tenant, removed by the scorer: no row that two writers share.';
CREATE TABLE rfm.segment_change (
    id BIGINT GENERATED ALWAYS AS IDENTITY,
    tenant_id UUID NOT NULL,
    customer_code TEXT COLLATE "C" NOT NULL,
    previous TEXT,
    segment TEXT NOT NULL,
    rfm_code TEXT,
    changed_at TIMESTAMP WITH TIME ZONE NOT NULL,
    cause TEXT NOT NULL,
    cause_id TEXT,
    PRIMARY KEY (id)
);
CREATE INDEX segment_change_of_customer ON rfm.segment_change (tenant_id, customer_code, id);
CREATE TABLE rfm.tenant (
    tenant_id UUID NOT NULL,
    status TEXT DEFAULT 'active' NOT NULL,
    timezone TEXT DEFAULT 'Europe/Paris' NOT NULL,
    currency TEXT,
    reference_date TEXT DEFAULT 'now' NOT NULL,
    rfm_method TEXT DEFAULT 'quintile' NOT NULL,
    rfm_bounds JSONB,
    active_days INTEGER DEFAULT '90' NOT NULL,
    version INTEGER DEFAULT '0' NOT NULL,
    PRIMARY KEY (tenant_id)
);
COMMENT ON TABLE rfm.tenant IS 'What this worker needs of each tenant; version 0 stands for one whose event has not arrived.';
