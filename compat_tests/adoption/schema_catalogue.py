"""Reads the whole schema of a database as plain data, so that two can be compared.

``read(uri)`` gives, by the name of each object, all that its database tells of it. Greenroom's own tables are left out."""

import re
import sqlite3

import psycopg2


def read(uri):
    return _sqlite(uri) if uri.startswith("sqlite:") else _postgresql(uri)


def rows(uri, query):
    """The result of a query, for either database."""
    connection = connect(uri)
    try:
        cursor = connection.cursor()
        cursor.execute(query)
        return cursor.fetchall()
    finally:
        connection.close()


def execute(uri, statement):
    connection = connect(uri)
    try:
        connection.cursor().execute(statement)
        connection.commit()
    finally:
        connection.close()


def connect(uri):
    if uri.startswith("sqlite:///"):
        return sqlite3.connect(uri.removeprefix("sqlite:///"), timeout=300)
    return psycopg2.connect(uri.replace("postgresql+psycopg2://", "postgresql://"))


def _is_own(name):
    return name.startswith("greenroom_")


def _sqlite(uri):
    def table_of(name, sql):
        # An index that a constraint brings has a name that only tells its place.
        indexes = {}
        for _, index, unique, origin, partial in rows(uri, f"PRAGMA index_list({name})"):
            if _is_own(index):
                continue
            columns = [tuple(c[2:]) for c in rows(uri, f"PRAGMA index_xinfo({index})")]
            key = index if origin == "c" else (origin, *(c[0] for c in columns))
            indexes[key] = {"unique": unique, "origin": origin, "partial": partial, "columns": columns}
        keys = {}
        for number, _, target, column, referred, on_update, on_delete, match in rows(uri, f"PRAGMA foreign_key_list({name})"):
            keys.setdefault(number, [target, on_update.upper(), on_delete.upper(), match]).append((column, referred))
        columns, constraints = _parts(sql)
        return {
            "columns": [tuple(c[1:]) for c in rows(uri, f"PRAGMA table_xinfo({name})")],
            "declared": columns,
            "constraints": constraints,
            "indexes": indexes,
            "foreign keys": sorted(keys.values(), key=repr),
        }

    found = {}
    for kind, name, table, sql in rows(uri, "SELECT type, name, tbl_name, sql FROM sqlite_master"):
        if _is_own(table):
            continue
        if kind == "table":
            found["table", name] = table_of(name, sql)
        elif kind == "trigger":
            found["trigger", name] = table, re.match(r"CREATE TRIGGER \w+\s+(.*?)\s+ON\b", sql, re.DOTALL)[1]
        elif kind == "view":
            found["view", name] = sql
    return found


def _parts(sql):
    """The columns in order and the constraints, sorted, of a CREATE TABLE: the only place where SQLite keeps their names."""
    body = sql[sql.index("(") + 1 : sql.rindex(")")]
    parts, depth, start = [], 0, 0
    for i, char in enumerate(body + ","):
        if char == "," and depth == 0:
            parts.append(_plain(body[start:i]))
            start = i + 1
        depth += {"(": 1, ")": -1}.get(char, 0)
    is_constraint = re.compile(r"(CONSTRAINT|PRIMARY KEY|FOREIGN KEY|UNIQUE|CHECK)\b")
    return [p for p in parts if not is_constraint.match(p)], sorted(p for p in parts if is_constraint.match(p))


def _plain(part):
    """Without what has no meaning: quotes of names, white space, the case of one action."""
    part = re.sub(r"\s+", " ", part.replace('"', "").strip())
    part = re.sub(r" ?([(),]) ?", r"\1", part)
    return part.replace("ON DELETE cascade", "ON DELETE CASCADE")


_POSTGRESQL = {
    "column": """
        SELECT c.relname || '.' || a.attname, c.relname,
               (SELECT count(*) FROM pg_attribute b
                 WHERE b.attrelid = a.attrelid AND b.attnum BETWEEN 1 AND a.attnum AND NOT b.attisdropped),
               format_type(a.atttypid, a.atttypmod), a.attnotnull, pg_get_expr(d.adbin, d.adrelid),
               a.attidentity, a.attgenerated, a.attcollation::regcollation
          FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
          LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
         WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' AND a.attnum > 0 AND NOT a.attisdropped""",
    "constraint": """
        SELECT conrelid::regclass || '.' || conname, conrelid::regclass, contype, condeferrable, condeferred, convalidated,
               pg_get_constraintdef(oid)
          FROM pg_constraint WHERE connamespace = 'public'::regnamespace""",
    "index": "SELECT indexname, tablename, indexdef FROM pg_indexes WHERE schemaname = 'public'",
    "sequence": """
        SELECT s.sequencename, d.refobjid::regclass, s.data_type, s.start_value, s.min_value, s.max_value, s.increment_by, s.cycle,
               s.cache_size, d.refobjsubid
          FROM pg_sequences s
          JOIN pg_depend d ON d.objid = s.sequencename::regclass AND d.deptype IN ('a', 'i') AND d.refobjsubid > 0
         WHERE s.schemaname = 'public'""",
    "trigger": "SELECT tgname, tgrelid::regclass, tgtype, tgenabled, tgfoid::regproc FROM pg_trigger WHERE NOT tgisinternal",
    "function": """
        SELECT proname, prorettype::regtype, pronargs, provolatile FROM pg_proc WHERE pronamespace = 'public'::regnamespace""",
    "type": "SELECT typname, typtype FROM pg_type WHERE typnamespace = 'public'::regnamespace AND typtype NOT IN ('c', 'b')",
    "relation": """
        SELECT relname, relkind, relpersistence, relrowsecurity FROM pg_class
         WHERE relnamespace = 'public'::regnamespace AND relkind <> 't'""",
}


def _postgresql(uri):
    found = {}
    for kind, query in _POSTGRESQL.items():
        for name, *rest in rows(uri, query):
            if not _is_own(name) and not _is_own(str(rest[0])):
                found[kind, name] = rest
    return found


def tables(uri):
    query = {
        True: "SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name",
        False: "SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY tablename",
    }[uri.startswith("sqlite:")]
    return [name for (name,) in rows(uri, query) if not _is_own(name)]
