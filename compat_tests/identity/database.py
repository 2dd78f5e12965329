"""Looks into a server's database, past its API."""

import functools
import time

import sqlalchemy

# These change with requests that are refused, or with who asks.
CHANGES_WITH_REFUSALS = {"greenroom_audit", "greenroom_login_failures"}
CHANGES_WITH_USE = {"last_used_at"}


@functools.cache
def _engine(backend_store_uri):
    uri = backend_store_uri.replace("postgresql://", "postgresql+psycopg2://")
    options = {"timeout": 300} if uri.startswith("sqlite") else {}
    return sqlalchemy.create_engine(uri, connect_args=options, poolclass=sqlalchemy.pool.NullPool)


@functools.cache
def _tables(backend_store_uri):
    return sqlalchemy.inspect(_engine(backend_store_uri)).get_table_names()


def rows(backend_store_uri):
    """All rows of all tables but those that requests change which are refused."""
    found = {}
    with _engine(backend_store_uri).connect() as connection:
        for name in _tables(backend_store_uri):
            if name not in CHANGES_WITH_REFUSALS:
                result = connection.execute(sqlalchemy.text(f'SELECT * FROM "{name}"'))
                kept = [i for i, column in enumerate(result.keys()) if column not in CHANGES_WITH_USE]
                found[name] = sorted(str([row[i] for i in kept]) for row in result)
    return found


def everything(backend_store_uri):
    """The text of all rows of all tables."""
    with _engine(backend_store_uri).connect() as connection:
        found = (connection.execute(sqlalchemy.text(f'SELECT * FROM "{name}"')) for name in _tables(backend_store_uri))
        return "\n".join(str(tuple(row)) for rows in found for row in rows)


def shorten(backend_store_uri, id, seconds):
    """Has a token expire in so many seconds, which the API does not offer. The token must not have been used yet."""
    with _engine(backend_store_uri).begin() as connection:
        connection.execute(
            sqlalchemy.text("UPDATE greenroom_tokens SET expires_at = :at WHERE id = :id"),
            {"at": int((time.time() + seconds) * 1000), "id": id},
        )
