"""One tenant never sees or changes a row of another, and no service one of another service, in every table."""

import asyncpg
import pytest

from tests.e2e.installation import Installation
from tests.e2e.two_tenants import BACKGROUND, Scene, tenant_tables


async def test_every_table_with_a_tenant_has_row_level_security_for_both_roles(scene: Scene) -> None:
    admin = await scene.installation.admin()
    try:
        for table in await tenant_tables(admin):
            assert await admin.fetchval("select relrowsecurity from pg_class where oid = $1::regclass", table), table
            schema, _, name = table.partition(".")
            policies = await admin.fetch(
                "select roles::text[] as roles, qual from pg_policies where schemaname = $1 and tablename = $2",
                schema,
                name,
            )
            gateways = [policy["qual"] for policy in policies if "iacrm_gateway" in policy["roles"]]
            assert gateways, f"{table} has no policy for the gateway"
            assert all("current_tenant" in qual for qual in gateways), table
            assert not [policy for policy in policies if "public" in policy["roles"]], table
    finally:
        await admin.close()


async def _count(connection: asyncpg.Connection, table: str, tenant_id: str) -> int:
    return int(await connection.fetchval(f"select count(*) from {table} where tenant_id = $1::uuid", tenant_id))


async def _tenant_with_all_tables_filled(admin: asyncpg.Connection, scene: Scene) -> dict[str, str]:
    """Table -> one row of A as JSON. What the worker empties, or fills when it comes by, gets a row that is rolled
    back."""
    for table, row in BACKGROUND.items():
        await admin.execute(f"insert into {table} {row.replace('$1', '$1::uuid')}", scene.victim.tenant_id)
    samples = {}
    for table in await tenant_tables(admin):
        query = f"select to_jsonb(t)::text from {table} t where tenant_id = $1::uuid limit 1"
        samples[table] = await admin.fetchval(query, scene.victim.tenant_id)
        assert samples[table] is not None, f"tenant A has no row in {table}: this test would prove nothing"
    return samples


@pytest.mark.parametrize("setting", ["another tenant", "no tenant", "operator", "not a uuid"])
async def test_no_table_shows_a_row_of_another_tenant(scene: Scene, setting: str) -> None:
    admin = await scene.installation.admin()
    transaction = admin.transaction()
    await transaction.start()
    try:
        samples = await _tenant_with_all_tables_filled(admin, scene)
        await admin.execute("set local role iacrm_gateway")
        await _set_tenant(admin, setting)
        for table in samples:
            if setting == "operator" and table in ("gateway.tenant", "gateway.tenant_settings_history"):
                continue  # that is what operators administer
            if setting == "not a uuid":
                with pytest.raises(asyncpg.DataError):
                    async with admin.transaction():
                        await _count(admin, table, scene.victim.tenant_id)
            else:
                assert await _count(admin, table, scene.victim.tenant_id) == 0, table
                assert await admin.fetchval(f"select count(*) from {table} where tenant_id is not null") == 0, table
    finally:
        await transaction.rollback()
        await admin.close()


async def _set_tenant(connection: asyncpg.Connection, setting: str) -> None:
    value = {"another tenant": "00000000-0000-4000-8000-00000000000b", "not a uuid": "x' or true --"}.get(setting, "")
    await connection.execute("select set_config('app.tenant', $1, true)", value)
    await connection.execute("select set_config('app.operator', $1, true)", "on" if setting == "operator" else "")


async def test_the_tenants_own_rows_are_visible_to_it(scene: Scene) -> None:
    """Otherwise the tests of what is hidden would pass on a role that sees nothing at all."""
    admin = await scene.installation.admin()
    transaction = admin.transaction()
    await transaction.start()
    try:
        samples = await _tenant_with_all_tables_filled(admin, scene)
        await admin.execute("set local role iacrm_gateway")
        await admin.execute("select set_config('app.tenant', $1, true)", scene.victim.tenant_id)
        for table in samples:
            assert await _count(admin, table, scene.victim.tenant_id) > 0, table
    finally:
        await transaction.rollback()
        await admin.close()


async def _written_columns(connection: asyncpg.Connection, table: str) -> str:
    """All columns but those that the database computes, for a statement."""
    found: str = await connection.fetchval(
        "select string_agg(quote_ident(attname), ', ' order by attnum) from pg_attribute "
        "where attrelid = $1::regclass and attnum > 0 and not attisdropped and attgenerated = ''",
        table,
    )
    return found


async def test_no_table_lets_another_tenant_write(scene: Scene) -> None:
    admin = await scene.installation.admin()
    transaction = admin.transaction()
    await transaction.start()
    try:
        samples = await _tenant_with_all_tables_filled(admin, scene)
        written = {table: await _written_columns(admin, table) for table in samples}
        await admin.execute("set local role iacrm_gateway")
        await _set_tenant(admin, "another tenant")
        for table, row in samples.items():
            columns = written[table]
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                async with admin.transaction():
                    await admin.execute(
                        f"insert into {table} ({columns}) overriding system value "
                        f"select {columns} from jsonb_populate_record(null::{table}, $1::text::jsonb)",
                        row,
                    )
            for statement in (
                f"update {table} set tenant_id = tenant_id where tenant_id = $1::uuid",
                f"delete from {table} where tenant_id = $1::uuid",
            ):
                assert await _changed(admin, statement, scene.victim.tenant_id) == 0, statement
    finally:
        await transaction.rollback()
        await admin.close()


async def _changed(connection: asyncpg.Connection, statement: str, tenant_id: str) -> int:
    """Rows that a statement changed; 0 where the role may not even try."""
    try:
        async with connection.transaction():
            return int((await connection.execute(statement, tenant_id)).rpartition(" ")[2])
    except asyncpg.InsufficientPrivilegeError:
        return 0


async def _tables(connection: asyncpg.Connection, schema: str) -> list[str]:
    rows = await connection.fetch(
        "select schemaname || '.' || tablename as name from pg_tables where schemaname = $1", schema
    )
    return [row["name"] for row in rows]


@pytest.mark.parametrize(
    ("role", "schema", "may_read"), [("iacrm_rfm", "gateway", False), ("iacrm_gateway", "rfm", True)]
)
async def test_no_role_writes_outside_its_own_schema(
    installation: Installation, role: str, schema: str, may_read: bool
) -> None:
    urls = {"iacrm_rfm": installation.database.rfm_url, "iacrm_gateway": installation.database.gateway_url}
    connection = await asyncpg.connect(urls[role].replace("+asyncpg", ""))
    try:
        assert await connection.fetchval("select current_user") == role
        tables = await _tables(connection, schema)
        assert tables
        for table in tables:
            if may_read:
                granted = "select has_table_privilege($1, $2, 'INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER')"
                assert not await connection.fetchval(granted, role, table), table
            column = (
                await connection.fetchval(
                    "select attname from pg_attribute where attrelid = to_regclass($1) and attnum = 1", table
                )
                if may_read
                else "tenant_id"
            )
            statements = [
                f"delete from {table}",
                f"truncate {table}",
                f"update {table} set {column} = default",
                f"insert into {table} default values",
                f"alter table {table} disable row level security",
            ]
            if not may_read:
                statements.append(f"select 1 from {table}")
            for statement in statements:
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    await connection.execute(statement)
        for statement in (f"create table {schema}.mine (x int)", "create table public.mine (x int)"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(statement)
    finally:
        await connection.close()


@pytest.mark.parametrize("role", ["iacrm_gateway", "iacrm_rfm"])
async def test_no_service_has_a_role_that_passes_by_the_policies(installation: Installation, role: str) -> None:
    admin = await installation.admin()
    try:
        rights = dict(
            await admin.fetchrow(
                "select rolsuper, rolbypassrls, rolcreaterole, rolcreatedb, rolreplication, rolcanlogin "
                "from pg_roles where rolname = $1",
                role,
            )
        )
        assert rights.pop("rolcanlogin")
        assert not any(rights.values()), rights
        assert (
            await admin.fetchval(
                "select count(*) from pg_auth_members m join pg_roles r on r.oid = m.member where r.rolname = $1", role
            )
            == 0
        )
        owned = await admin.fetch(
            "select c.oid::regclass::text from pg_class c join pg_roles r on r.oid = c.relowner where r.rolname = $1 "
            "and c.relpersistence <> 't' "
            "union all select n.nspname from pg_namespace n join pg_roles r on r.oid = n.nspowner where r.rolname = $1",
            role,
        )
        assert owned == []
    finally:
        await admin.close()
