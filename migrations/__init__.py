"""The one history of the database: roles, schemas, tables, policies and grants."""
