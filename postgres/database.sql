-- One database, for its owner only. psql variables: database, owner.
SELECT format('%s_owner', :'owner') AS owner_role, format('%s_app', :'owner') AS app_role \gset
SELECT format('CREATE DATABASE %I OWNER %I', :'database', :'owner_role')
 WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = :'database') \gexec
REVOKE ALL ON DATABASE :"database" FROM PUBLIC;
-- TEMPORARY: an import stages its rows in a table of its own session.
GRANT CONNECT, TEMPORARY ON DATABASE :"database" TO :"app_role";

-- The application may read and write the owner's future tables, and nothing else.
\connect :"database"
ALTER DEFAULT PRIVILEGES FOR ROLE :"owner_role" GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO :"app_role";
ALTER DEFAULT PRIVILEGES FOR ROLE :"owner_role" GRANT USAGE, SELECT ON SEQUENCES TO :"app_role";
