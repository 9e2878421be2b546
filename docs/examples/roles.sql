-- region roles
CREATE ROLE refold_engine NOLOGIN BYPASSRLS;
CREATE ROLE refold_api NOLOGIN;
CREATE ROLE refold_reader NOLOGIN;
CREATE ROLE refold_login LOGIN PASSWORD 'choose one';
GRANT refold_engine, refold_api TO refold_login;
CREATE DATABASE refold OWNER refold_login ENCODING 'UTF8' TEMPLATE template0;
-- endregion
