-- The two roles of one owner. `<owner>_owner` owns the databases and migrates them; `<owner>_app` is
-- what the application runs as. psql variable: owner.

-- The passwords come from files, never from a command line, and no setting may log these statements.
SET log_statement = 'none';
SET log_min_duration_statement = -1;
SET log_min_error_statement = 'panic';
SELECT format('/run/secrets/db_%s_owner', :'owner') AS owner_file, format('/run/secrets/db_%s_app', :'owner') AS app_file,
       format('%s_owner', :'owner') AS owner_role, format('%s_app', :'owner') AS app_role \gset
\set owner_password `cat :'owner_file'`
\set app_password `cat :'app_file'`
CREATE ROLE :"owner_role" LOGIN PASSWORD :'owner_password';
CREATE ROLE :"app_role" LOGIN PASSWORD :'app_password';

-- A request that waits longer has lost its reader; a migration that waits for a lock blocks everybody behind it.
ALTER ROLE :"app_role" SET statement_timeout = '5s';
ALTER ROLE :"app_role" SET lock_timeout = '3s';
ALTER ROLE :"app_role" SET idle_in_transaction_session_timeout = '10s';
ALTER ROLE :"owner_role" SET lock_timeout = '10s';
