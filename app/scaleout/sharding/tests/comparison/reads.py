"""Operations that ask: any base, with any modifiers, and any end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.db.models import (
    Avg,
    Case,
    Count,
    Exists,
    F,
    Max,
    Min,
    OuterRef,
    Prefetch,
    Q,
    QuerySet,
    Subquery,
    Sum,
    Value,
    When,
    Window,
)
from django.db.models.functions import RowNumber
from django.db.transaction import TransactionManagementError
from hypothesis import strategies as st

from scaleout.sharding.errors import CrossShardTransaction, ShardKeyRequired
from scaleout.sharding.tests.comparison.operation import WHO, operation
from scaleout.sharding.tests.comparison.side import Side
from scaleout.sharding.tests.comparison.writes import UPDATES

type Base = Callable[[Side, int, int], Any]
type Modifier = Callable[[Any], Any]


def _books(side: Side) -> Any:
    return side.models["Book"].objects


BOOKS: dict[str, Base] = {
    "by key": lambda side, who, _: _books(side).filter(author_id=side.pick("Author", who).pk),
    "by object": lambda side, who, _: _books(side).filter(author=side.pick("Author", who)),
    "by path": lambda side, who, _: _books(side).filter(author__id=side.pick("Author", who).pk),
    "related": lambda side, who, _: side.pick("Author", who).books.all(),
    "related, filtered": lambda side, who, _: side.pick("Author", who).books.filter(pages__isnull=False),
    "by list": lambda side, who, _: _books(side).filter(author__in=[side.pick("Author", who)]),
    "by id": lambda side, who, _: _books(side).filter(pk=side.pick("Book", who).pk),
    "by a leaf": lambda side, who, _: _books(side).filter(leaves=side.pick("Leaf", who)),
    "by ids": lambda side, who, other: (
        _books(side).filter(id__in=[side.pick("Book", who).pk, side.pick("Book", other).pk]).order_by("rank")
    ),
    "of two": lambda side, who, other: (
        _books(side).filter(author__in=[side.pick("Author", who), side.pick("Author", other)]).order_by("rank")
    ),
    "prequels": lambda side, who, _: side.pick("Book", who).prequels.all(),
    "a union": lambda side, who, _: _union(side, who),
    "nothing": lambda side, who, _: _books(side).none(),
    # What names no shard.
    "all": lambda side, who, _: _books(side).order_by("rank"),
    "by title": lambda side, who, _: _books(side).filter(title="a").order_by("rank"),
    "by OR": lambda side, who, _: (
        _books(side).filter(Q(author=side.pick("Author", who)) | Q(title="a")).order_by("rank")
    ),
    "not of": lambda side, who, _: _books(side).exclude(author=side.pick("Author", who)).order_by("rank"),
}
UNKEYED = ("all", "by title", "by OR", "not of")


def _union(side: Side, who: int) -> Any:
    author = side.pick("Author", who)
    mine = _books(side).filter(author_id=author.pk)
    return mine.filter(title="a").union(mine.filter(pages__gt=1)).order_by("rank")


def _leaves(query: QuerySet[Any]) -> Any:
    field: Any = query.model._meta.get_field("leaves")
    return field.related_model.objects


def _update(values: dict[str, Any]) -> Callable[[Any], Any]:
    return lambda query: query.update(**values)


MODIFIERS: dict[str, Modifier] = {
    "filter": lambda q: q.filter(title="a"),
    "filter by number": lambda q: q.filter(pages__gte=2),
    "filter by a list": lambda q: q.filter(title__in=["a", "b"]),
    "filter by Q": lambda q: q.filter(Q(title="b") | ~Q(pages=1)),
    "exclude": lambda q: q.exclude(title="a"),
    "exclude by a relation": lambda q: q.exclude(leaves__number=1),
    "filter by a relation": lambda q: q.filter(leaves__number__gte=1),
    "filter by the author": lambda q: q.filter(author__name="a"),
    "filter by the sequel": lambda q: q.filter(sequel__title="a"),
    "filter by F": lambda q: q.filter(pages__gt=F("sequel__pages")),
    "isnull": lambda q: q.filter(sequel__isnull=True),
    "no cover": lambda q: q.filter(cover__isnull=True),
    "count": lambda q: q.annotate(n=Count("leaves")),
    "filtered count": lambda q: q.annotate(few=Count("leaves", filter=Q(leaves__number__lt=2))).filter(few__gte=1),
    "max": lambda q: q.annotate(most=Max("leaves__number")),
    "Exists": lambda q: q.annotate(found=Exists(_leaves(q).filter(book_id=OuterRef("pk"), number=1))),
    "not Exists": lambda q: q.filter(~Exists(_leaves(q).filter(book=OuterRef("pk")))),
    "Subquery": lambda q: q.annotate(
        last=Subquery(_leaves(q).filter(book=OuterRef("pk")).order_by("-number", "rank").values("number")[:1])
    ),
    "in a list of ids": lambda q: q.filter(pk__in=_leaves(q).filter(number__gt=0).values("book")),
    "distinct": lambda q: q.distinct(),
    "order": lambda q: q.order_by("title", "rank"),
    "order by F": lambda q: q.order_by(F("pages").desc(nulls_last=True), "-rank"),
    "order by a relation": lambda q: q.order_by("author__name", "rank"),
    "reverse": lambda q: q.reverse(),
    "slice": lambda q: q.order_by("rank")[1:3],
    "select_related": lambda q: q.select_related("author", "sequel"),
    "select_related cover": lambda q: q.select_related("cover"),
    "prefetch": lambda q: q.prefetch_related("leaves", "author", "sequel"),
    "prefetch backwards": lambda q: q.prefetch_related("prequels", "cover"),
    "Prefetch": lambda q: q.prefetch_related(Prefetch("leaves", _leaves(q).filter(number__gt=0).order_by("-rank"))),
    "only": lambda q: q.only("rank", "title"),
    "defer": lambda q: q.defer("pages"),
    "filter by many joins": lambda q: q.filter(author__books__leaves__number__gte=1).distinct(),
    "filter by the prequel": lambda q: q.filter(prequels__isnull=False),
    "alias": lambda q: q.alias(n=Count("leaves")).filter(n__gt=0),
    "annotate by F": lambda q: q.annotate(of=F("author__name"), next=F("sequel__title")),
    "annotate by Case": lambda q: q.annotate(kind=Case(When(pages__gt=2, then=Value("long")), default=Value("short"))),
    "annotate by Window": lambda q: q.annotate(
        place=Window(RowNumber(), partition_by=F("author_id"), order_by=["title", "rank"])
    ),
    "OR of both": lambda q: q | q.filter(title="a"),
    "AND of both": lambda q: q & q.filter(title="b"),
    "intersection": lambda q: q.intersection(q.filter(pages__gte=1)).order_by("rank"),
    "difference": lambda q: q.difference(q.filter(title="a")).order_by("rank"),
    "all": lambda q: q.all(),
    "in a list of itself": lambda q: q.filter(pk__in=q.values("pk")),
    "lock": lambda q: q.select_for_update(of=("self",)),
}


def _in_order(query: Any) -> Any:
    return query if query.ordered else query.order_by("rank")


def _listed(rows: Any, ordered: bool | None = None) -> Any:
    """Return the rows in their order; if they have none, mark them as a heap."""
    if rows.ordered if ordered is None else ordered:
        return list(rows)
    return Heap(rows)


class Heap(list[Any]):
    """Rows whose order means nothing."""


ENDS: dict[str, Callable[[Any], Any]] = {
    "list": _listed,
    "count": lambda q: q.count(),
    "exists": lambda q: q.exists(),
    "len": len,
    "first": lambda q: q.first(),
    "last": lambda q: q.last(),
    "get": lambda q: q.get(),
    "latest": lambda q: q.latest("rank"),
    "earliest": lambda q: q.earliest("title", "rank"),
    "values": lambda q: _listed(q.values("title", "author_id", "sequel")),
    "values_list": lambda q: _listed(q.values_list("author__name", "title")),
    "flat": lambda q: _listed(q.values_list("pk", flat=True)),
    "groups": lambda q: list(q.order_by().values("title").annotate(k=Count("pk"), s=Sum("pages")).order_by("title")),
    "aggregate": lambda q: q.aggregate(n=Count("pk"), s=Sum("pages"), m=Min("title"), x=Max("rank"), a=Avg("pages")),
    "distinct titles": lambda q: sorted(q.values_list("title", flat=True).distinct()),
    "iterator": lambda q: _listed(q.iterator(chunk_size=2), q.ordered),
    "in_bulk": lambda q: q.in_bulk(),
    "index": lambda q: _in_order(q)[0],
    "contains": lambda q: [q.contains(row) for row in q],
    "step": lambda q: _in_order(q)[0:4:2],
    "evaluated": lambda q: (len(q), q.count(), q.exists(), q.first()),
    "of the counts": lambda q: q.annotate(k=Count("leaves", distinct=True)).aggregate(Max("k"), Sum("k")),
    "distinct count": lambda q: q.aggregate(n=Count("title", distinct=True)),
    "named rows": lambda q: _listed(q.values_list("rank", "title", named=True)),
    "update by Subquery": lambda q: q.update(
        pages=Subquery(_leaves(q).filter(book=OuterRef("pk")).order_by("-rank").values("number")[:1])
    ),
    "update by Case": lambda q: q.update(pages=Case(When(title="a", then=Value(1)), default=F("pages"))),
    **{f"update {name}": _update(values) for name, values in UPDATES.items()},
    "delete": lambda q: q.delete(),
}


@operation(
    ShardKeyRequired,
    CrossShardTransaction,
    TransactionManagementError,
    times=24,
    who=WHO,
    other=WHO,
    base=st.sampled_from(list(BOOKS)),
    modifiers=st.lists(st.sampled_from(list(MODIFIERS)), max_size=3),
    end=st.sampled_from(list(ENDS)),
)
def books(side: Side, *, who: int, other: int, base: str, modifiers: list[str], end: str) -> Any:
    query = BOOKS[base](side, who, other)
    for name in modifiers:
        query = MODIFIERS[name](query)
    answer = ENDS[end](query)
    return sorted(repr(side.plain(row)) for row in answer) if isinstance(answer, Heap) else answer


AUTHORS: dict[str, Base] = {
    "by id": lambda side, who, _: side.models["Author"].objects.filter(pk=side.pick("Author", who).pk),
    "by ids": lambda side, who, other: (
        side.models["Author"]
        .objects.filter(pk__in=[side.pick("Author", who).pk, side.pick("Author", other).pk])
        .order_by("rank")
    ),
    "by a book": lambda side, who, _: side.models["Author"].objects.filter(books=side.pick("Book", who)),
    "all": lambda side, who, _: side.models["Author"].objects.order_by("rank"),
    "by name": lambda side, who, _: side.models["Author"].objects.filter(name="a").order_by("rank"),
}
OF_AUTHORS: dict[str, Callable[[Any], Any]] = {
    "list": _listed,
    "count": lambda q: q.count(),
    "books": lambda q: _listed(q.annotate(n=Count("books"), pages=Sum("books__pages"))),
    "leaves": lambda q: q.aggregate(n=Count("books__leaves"), most=Max("books__leaves__number")),
    "prefetch": lambda q: _listed(q.prefetch_related("books__leaves", "books__cover")),
    "update": lambda q: q.update(score=F("score") + 1),
    "delete": lambda q: q.delete(),
    "in_bulk": lambda q: q.in_bulk([one.pk for one in q]),
    "values": lambda q: Heap(q.values("name", "books__title")),  # the order of a row's books means nothing
}


@operation(
    ShardKeyRequired,
    CrossShardTransaction,
    times=5,
    who=WHO,
    other=WHO,
    base=st.sampled_from(list(AUTHORS)),
    end=st.sampled_from(list(OF_AUTHORS)),
)
def authors(side: Side, who: int, other: int, base: str, end: str) -> Any:
    answer = OF_AUTHORS[end](AUTHORS[base](side, who, other))
    return sorted(repr(side.plain(row)) for row in answer) if isinstance(answer, Heap) else answer
