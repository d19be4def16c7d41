"""The shadow: a schema with the tables of the live one, empty, with the same indexes, policies and rights.

The worker's statements name no schema, so what fills the live tables fills these too. Everything is read from the
database's catalogue: a table that a later revision adds or changes needs nothing here.
"""

from services.rfm_worker.repository.raw import Raw
from services.rfm_worker.tables import SCHEMA

SHADOW = f"{SCHEMA}_shadow"
OWNER = "iacrm_owner"

_TABLES = "select c.oid, c.relname as name from pg_class c where c.relnamespace = $1::regnamespace and c.relkind = 'r'"
_VIEWS = """
select oid, relname as name, pg_get_viewdef(oid) as definition from pg_class
where relnamespace = $1::regnamespace and relkind = 'v'
"""
_OPTIONS = "select array_to_string(reloptions, ', ') as options from pg_class where oid = $1 and reloptions is not null"
_CONSTRAINTS = """
select conname as name, pg_get_constraintdef(oid) as definition from pg_constraint
where conrelid = $1 and contype in ('p', 'u', 'x')
"""
_INDEXES = """
select pg_get_indexdef(i.indexrelid) as definition from pg_index i
where i.indrelid = $1 and not exists (select from pg_constraint c where c.conindid = i.indexrelid)
"""
_COMMENT = "select format('comment on table %I.%I is %L', $2::text, c.relname, obj_description(c.oid, 'pg_class')) "
_COMMENT += "from pg_class c where c.oid = $1 and obj_description(c.oid, 'pg_class') is not null"
_SECURED = """
select format('alter table %I.%I enable row level security', $2::text, relname) as statement
from pg_class where oid = $1 and relrowsecurity
union all
select format(
    'create policy %I on %I.%I as %s for %s to %s%s%s', p.policyname, $2::text, p.tablename, p.permissive, p.cmd,
    (select string_agg(case r when 'public' then 'public' else quote_ident(r) end, ', ') from unnest(p.roles) r),
    ' using (' || p.qual || ')', ' with check (' || p.with_check || ')'
)
from pg_policies p join pg_class c on c.relname = p.tablename
where c.oid = $1 and p.schemaname = $3
"""
_RIGHTS = """
select format(
    'grant %s%s on %I.%I to %s%s', x.privilege_type, x.columns, $2::text, x.relname,
    case x.grantee when 0 then 'public' else quote_ident(x.grantee::regrole::text) end,
    case when x.is_grantable then ' with grant option' else '' end
) as statement
from (
    select c.relname, '' as columns, a.* from pg_class c, aclexplode(c.relacl) a where c.oid = $1
    union all
    select c.relname, format(' (%I)', t.attname), a.* from pg_class c join pg_attribute t on t.attrelid = c.oid,
        aclexplode(t.attacl) a where c.oid = $1
) x
where x.grantee <> (select relowner from pg_class where oid = $1)
"""


async def create_shadow(raw: Raw) -> None:
    """Makes the schema anew, whatever an earlier rebuild left of it.

    Args:
        raw: of an administrator who acts as the owner, inside a transaction.
    """
    await drop_shadow(raw)
    await raw.execute("set local role none")
    await raw.execute(f"create schema {SHADOW} authorization {OWNER}")
    await raw.execute(f"set local role {OWNER}")
    for table in await raw.fetch(_TABLES, SCHEMA):
        await _copy_table(raw, table["oid"], table["name"])


async def take_views_down(raw: Raw) -> list[str]:
    """Drops the live schema's views, which hold on to its tables; answers what makes them again."""
    statements = []
    for view in await raw.fetch(_VIEWS, SCHEMA):
        name = f"{SCHEMA}.{view['name']}"
        statements.append(f"create view {name} as {view['definition']}")
        statements += [row[0] for row in await raw.fetch(_RIGHTS, view["oid"], SCHEMA)]
        await raw.execute(f"drop view {name}")
    return statements


async def drop_shadow(raw: Raw) -> None:
    """Removes the schema with all that is in it."""
    await raw.execute(f"drop schema if exists {SHADOW} cascade")


async def _copy_table(raw: Raw, oid: int, name: str) -> None:
    target = f"{SHADOW}.{name}"
    # Indexes get their own names back: a later revision knows them by these.
    await raw.execute(f"create table {target} (like {SCHEMA}.{name} including all excluding indexes)")
    for row in await raw.fetch(_OPTIONS, oid):
        await raw.execute(f"alter table {target} set ({row['options']})")
    for row in await raw.fetch(_CONSTRAINTS, oid):
        await raw.execute(f'alter table {target} add constraint "{row["name"]}" {row["definition"]}')
    for row in await raw.fetch(_INDEXES, oid):
        await raw.execute(row["definition"].replace(f" ON {SCHEMA}.", f" ON {SHADOW}.", 1))
    for query, parameters in ((_COMMENT, ()), (_SECURED, (SCHEMA,)), (_RIGHTS, ())):
        for row in await raw.fetch(query, oid, SHADOW, *parameters):
            await raw.execute(row[0])
