"""Write rows to the database: staged by COPY, merged by SKU, in one transaction."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import batched
from typing import Any

from django.db import OperationalError, connections, transaction
from psycopg import errors
from scaleout.caching import invalidate
from scaleout.events.outbox import publish_many

from shop.products import events, tags
from shop.products.imports.categories import CategoryPaths
from shop.products.imports.records import Record
from shop.products.imports.rows import RejectedError, Row, check

DATABASE = "default"  # the primary
BATCH = 2_000
SHOWN_MAX = 20
LOCK = 0x5CA1_E0  # advisory lock; no other code uses this number
_PATIENCE = "10min"  # for one statement, and for the lock of a running import

_STAGE = """
    CREATE TEMPORARY TABLE import_product (
        line bigint, sku text, name text, category_id bigint, price_amount bigint,
        description text, currency text, stock integer, featured boolean, image_url text
    ) ON COMMIT DROP
"""
_COPY = (
    "COPY import_product (line, sku, name, category_id, price_amount, description, currency, stock, featured,"
    " image_url) FROM STDIN"
)
_KEEP_LAST = """
    WITH replaced AS (
        DELETE FROM import_product s
        USING (SELECT sku, max(line) AS line FROM import_product GROUP BY sku HAVING count(*) > 1) last
        WHERE s.sku = last.sku AND s.line < last.line
        RETURNING s.line, s.sku, last.line AS by
    )
    SELECT line, sku, by, count(*) OVER () FROM replaced ORDER BY line LIMIT %s
"""
# New SKUs first, then the update: a product that a concurrent request adds is updated, not lost,
# and an existing row uses up no id.
_INSERT = """
    WITH created AS (
    INSERT INTO products_product (sku, name, category_id, price_amount, description, currency, stock, sold,
                                  featured, image_url, created_at, updated_at)
    SELECT sku, name, category_id, price_amount, COALESCE(description, ''), COALESCE(currency, 'EUR'),
           COALESCE(stock, 0), 0, COALESCE(featured, false), COALESCE(image_url, ''), now(), now()
    FROM import_product s
    WHERE NOT EXISTS (SELECT FROM products_product p WHERE p.sku = s.sku)
    ORDER BY line
    ON CONFLICT (sku) DO NOTHING
    RETURNING category_id, featured
    )
    SELECT count(*), array_agg(DISTINCT category_id), coalesce(bool_or(featured), false) FROM created
"""
_COLUMNS = "name, category_id, price_amount, description, currency, stock, featured, image_url"
_NEW = """s.name, s.category_id, s.price_amount, COALESCE(s.description, p.description),
          COALESCE(s.currency, p.currency), COALESCE(s.stock, p.stock), COALESCE(s.featured, p.featured),
          COALESCE(s.image_url, p.image_url)"""
_OLD = ", ".join(f"p.{column.strip()}" for column in _COLUMNS.split(","))
_CHANGED = f"p.sku = s.sku AND ({_OLD}) IS DISTINCT FROM ({_NEW})"
# Every writer that locks several products locks them by id, so writers cannot deadlock. This
# locks exactly the rows that the update below changes.
_LOCK_ROWS = f"""
    CREATE TEMPORARY TABLE import_locked ON COMMIT DROP AS
    SELECT p.id, s.category_id, s.category_id <> p.category_id AS moves,
           s.featured, s.featured <> p.featured AS flips
    FROM products_product p, import_product s WHERE {_CHANGED} ORDER BY p.id
    FOR NO KEY UPDATE OF p
"""  # noqa: S608 -- built from constants
_LOCKED = f"""
    SELECT (array_agg(id))[1:{tags.MANY + 1}], array_agg(DISTINCT category_id) FILTER (WHERE moves),
           coalesce(bool_or(flips AND featured), false), coalesce(bool_or(flips), false)
    FROM import_locked
"""  # noqa: S608
_RENAMED = """
    SELECT p.id, s.name, s.price_amount, COALESCE(s.currency, p.currency)
    FROM import_locked l JOIN products_product p USING (id) JOIN import_product s USING (sku)
    WHERE p.name <> s.name ORDER BY p.id
"""
_UPDATE = f"""
    UPDATE products_product p SET ({_COLUMNS}) = ROW({_NEW}), updated_at = now()
    FROM import_product s, import_locked l WHERE p.id = l.id AND {_CHANGED}
"""  # noqa: S608


class BusyError(Exception):
    """Another import was still running after the time-out."""


@dataclass(slots=True)
class Result:
    created: int = 0
    updated: int = 0
    unchanged: int = 0
    rejected: int = 0
    replaced: int = 0  # rows whose SKU occurs again later in the file


@dataclass(frozen=True, slots=True)
class Reports:
    """Callbacks for the events of an import."""

    rejected: Callable[[int, str], None]  # line, reason; the first SHOWN_MAX
    replaced: Callable[[int, str, int], None]  # line, SKU, line of the row that counts; the first SHOWN_MAX
    waiting: Callable[[], None]
    merging: Callable[[], None]


def load(records: Iterable[Record], reports: Reports) -> Result:
    """Load every valid record; load nothing if more than single records fail. Raises BusyError."""
    result = Result()
    with transaction.atomic(using=DATABASE), connections[DATABASE].cursor() as cursor:
        cursor.execute("SELECT set_config(name, %s, true) FROM unnest(%s::text[]) AS name", [_PATIENCE, _TIMEOUTS])
        _lock(cursor, reports)
        cursor.execute("DROP TABLE IF EXISTS pg_temp.import_product, pg_temp.import_locked")
        cursor.execute(_STAGE)
        staged = 0
        for batch in batched(_valid(records, CategoryPaths(DATABASE), result, reports), BATCH, strict=False):
            with connections[DATABASE].wrap_database_errors, cursor.copy(_COPY) as copy:
                for row in batch:
                    copy.write_row(row)
            staged += len(batch)
        reports.merging()
        cursor.execute("ANALYZE import_product")
        cursor.execute(_KEEP_LAST, [SHOWN_MAX])
        for line, sku, by, count in cursor.fetchall():
            result.replaced = count
            reports.replaced(line, sku, by)
        cursor.execute(_INSERT)
        result.created, shelves, featured = cursor.fetchone()
        wrong = tags.of_products((), shelves=shelves or (), featured=featured)
        cursor.execute(_LOCK_ROWS)
        cursor.execute("ANALYZE import_locked")
        cursor.execute(_LOCKED)
        ids, shelves, featured, flipped = cursor.fetchone()
        wrong |= tags.of_products(ids or (), shelves=shelves or (), featured=featured, lists=flipped)
        publish_many(events.CHANGED, _renamed(), using=DATABASE)
        cursor.execute(_UPDATE)
        result.updated = cursor.rowcount
        invalidate(*wrong)  # after the commit
        if result.created + result.updated >= BATCH:
            # Without it PostgreSQL plans the next searches for the old table. A role without the
            # right to do so gets only a warning.
            cursor.execute("ANALYZE products_product")
        result.unchanged = staged - result.replaced - result.created - result.updated
    return result


def _renamed() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the events of the products whose name changes. Their rows are locked."""
    with connections[DATABASE].chunked_cursor() as cursor:
        cursor.execute(_RENAMED)
        while rows := cursor.fetchmany(BATCH):
            yield from (events.changed(*row) for row in rows)


_TIMEOUTS = ["statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"]


def _lock(cursor: Any, reports: Reports) -> None:
    """Wait until no other import runs: two imports of the same products could deadlock."""
    cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [LOCK])
    if cursor.fetchone()[0]:
        return
    reports.waiting()
    try:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [LOCK])
    except OperationalError as error:
        if isinstance(error.__cause__, errors.LockNotAvailable | errors.QueryCanceled):
            raise BusyError(f"another import was still running after {_PATIENCE}") from error
        raise


def _valid(
    records: Iterable[Record], categories: CategoryPaths, result: Result, reports: Reports
) -> Iterable[tuple[object, ...]]:
    for record in records:
        try:
            row: Row = check(record)
            yield (row.line, row.sku, row.name, categories.id_of(row.category), *row[4:])
        except RejectedError as error:
            result.rejected += 1
            if result.rejected <= SHOWN_MAX:
                reports.rejected(record.line, str(error))
