"""Whether an SQL statement may write."""

from __future__ import annotations

import re
from functools import lru_cache

from scaleout.base.sql import BEFORE, begins_as_read

_CALL = re.compile(r'(\w+)"?\s*\(')
_INSIDE = re.compile(r"\b(INTO|ANALYZE)\b", re.IGNORECASE)  # SELECT INTO, EXPLAIN ANALYZE
# Words before a parenthesis in queries of Django's ORM that write nothing: keywords, types, and
# functions of PostgreSQL: the usual ones, those of text search, and those about the server.
_NAMES = """
    all and any array as between by case distinct else except exists filter from group having ilike in intersect
    is join lateral like limit not offset on or order over partition row select similar some then union using
    values when where with within
    char decimal numeric varchar
    abs acos array_agg asin atan atan2 avg bit_and bit_or bit_xor bool_and bool_or btrim cast ceil ceiling chr
    coalesce concat concat_ws corr cos cot count covar_pop covar_samp cume_dist current_setting date_part
    date_trunc degrees dense_rank exp extract first_value floor greatest json_agg json_build_object jsonb_agg
    jsonb_build_array jsonb_build_object lag last_value lead least left length ln log lower lpad ltrim max md5
    min mod now nth_value ntile nullif percent_rank pi position power radians random rank regexp_replace
    regr_avgx regr_avgy regr_count regr_intercept regr_r2 regr_slope regr_sxx regr_sxy regr_syy repeat replace
    reverse right round row_number rpad rtrim set_config sha224 sha256 sha384 sha512 sign sin sqrt
    statement_timestamp stddev_pop stddev_samp string_agg strpos substr substring sum tan timezone to_char
    translate trim trunc unnest upper var_pop var_samp
    phraseto_tsquery plainto_tsquery setweight similarity strict_word_similarity to_tsquery to_tsvector
    ts_headline ts_rank ts_rank_cd unaccent websearch_to_tsquery word_similarity
    clock_timestamp gen_random_uuid generate_series hashtext hashtextextended make_interval transaction_timestamp
    pg_advisory_lock pg_advisory_unlock pg_advisory_xact_lock pg_try_advisory_lock pg_try_advisory_xact_lock
    pg_backend_pid pg_current_wal_insert_lsn pg_current_wal_lsn pg_is_in_recovery pg_last_wal_replay_lsn
"""
_REMEMBERED = 4000  # characters of a statement whose kind is remembered
_HARMLESS = frozenset(_NAMES.split())


def may_write(sql: object) -> bool:
    """Return whether `sql` may change the database. An unknown function may.

    A wrong yes costs a read of the primary, a wrong no would be a stale read.
    """
    if not (isinstance(sql, str) and begins_as_read(sql)):
        return True
    return _may_write(sql) if len(sql) <= _REMEMBERED else _may_write.__wrapped__(sql)


@lru_cache(maxsize=1024)
def _may_write(sql: str) -> bool:
    text = sql.strip(BEFORE)
    if ";" in text:
        return True
    calls = {name.lower() for name in _CALL.findall(text)}
    return not calls <= _HARMLESS or _INSIDE.search(text) is not None
