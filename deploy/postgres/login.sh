#!/bin/sh
# Runs once, when PostgreSQL's data is made: the login of the running processes, which may only
# become wallet_runtime and so can't rewrite history. The schema's owner is POSTGRES_USER.
set -eu
psql -v ON_ERROR_STOP=1 -v password="$POSTGRES_APP_PASSWORD" \
  --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" <<'SQL'
CREATE ROLE wallet_runtime NOLOGIN;
CREATE ROLE wallet_app LOGIN PASSWORD :'password' IN ROLE wallet_runtime;
CREATE EXTENSION IF NOT EXISTS pg_stat_statements;
SQL
