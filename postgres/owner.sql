-- The two roles of one owner. `<owner>_owner` owns and migrates the databases; the application uses
-- `<owner>_app`. psql variable: owner. patroni_passwords.py sets their passwords.
SELECT format('%s_owner', :'owner') AS owner_role, format('%s_app', :'owner') AS app_role \gset
SELECT format('CREATE ROLE %I', name) FROM unnest(ARRAY[:'owner_role', :'app_role']) AS name
 WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name) \gexec
ALTER ROLE :"owner_role" LOGIN;
ALTER ROLE :"app_role" LOGIN;

-- The client of a longer request has gone; a migration that waits for a lock blocks all later queries of the table.
ALTER ROLE :"app_role" SET statement_timeout = '5s';
ALTER ROLE :"app_role" SET lock_timeout = '3s';
ALTER ROLE :"app_role" SET idle_in_transaction_session_timeout = '10s';
ALTER ROLE :"owner_role" SET lock_timeout = '10s';
