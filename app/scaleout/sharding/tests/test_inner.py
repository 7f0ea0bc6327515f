"""A query inside of a query is answered with the rows of its own shard, or refused; a wrong answer
never comes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.db.models import (
    Case,
    CharField,
    Count,
    Exists,
    F,
    FilteredRelation,
    Max,
    OuterRef,
    Q,
    Subquery,
    Value,
    When,
)

from scaleout.sharding.errors import CrossShardTransaction, ShardKeyRequired
from scaleout.sharding.models import BucketMap
from scaleout.sharding.tests.shelves import Author, Book, Leaf, author_on

pytestmark = [
    pytest.mark.django_db(transaction=True, databases=["default", "shard0", "shard1", "shard2"]),
    pytest.mark.usefixtures("shelves"),
]

# What an author on shard 0 asks about one on shard 1, or about one who is not named. Each gave a
# wrong answer.
type Asking = Callable[[Author, Author], object]


def of(author: Author) -> Any:
    return Author.objects.filter(pk=author.pk)


def named(author: Author) -> Any:
    return Author.objects.filter(name=author.name)


REFUSED: dict[str, Asking] = {
    "a list": lambda a, b: of(a).filter(name__in=of(b).values("name")).count(),
    "a list of anyone": lambda a, b: of(a).filter(name__in=named(b).values("name")).count(),
    "an exclusion": lambda a, b: of(a).exclude(name__in=of(b).values("name")).count(),
    "Exists": lambda a, b: list(of(a).annotate(found=Exists(of(b)))),
    "Exists as a condition": lambda a, b: of(a).filter(Exists(named(b))).exists(),
    "not Exists": lambda a, b: of(a).filter(~Exists(of(b))).first(),
    "Subquery": lambda a, b: list(of(a).annotate(title=Subquery(Book.objects.for_key(b.pk).values("title")[:1]))),
    "Subquery in a comparison": lambda a, b: list(of(a).filter(name=Subquery(of(b).values("name")[:1]))),
    "a query as a value": lambda a, b: list(of(a).filter(name=of(b).values("name")[:1])),
    "OuterRef of a name": lambda a, b: list(of(a).annotate(found=Exists(Author.objects.filter(name=OuterRef("name"))))),
    "a slice of ids": lambda a, b: list(of(a).filter(id__in=Author.objects.order_by("name").values("id")[:1])),
    "alias": lambda a, b: list(of(a).alias(found=Exists(of(b))).filter(found=True)),
    "Case and When": lambda a, b: list(
        of(a).annotate(kind=Case(When(Exists(of(b)), then=Value("x")), default=Value("y"), output_field=CharField()))
    ),
    "When with a Q": lambda a, b: list(
        of(a).annotate(kind=Case(When(Q(name__in=of(b).values("name")), then=Value(1)), default=Value(0)))
    ),
    "a Q in an OR": lambda a, b: list(
        Author.objects.filter(Q(pk=a.pk), Q(name="x") | Q(name__in=of(b).values("name")))
    ),
    "an order": lambda a, b: list(of(a).order_by(Subquery(of(b).values("name")[:1]).desc())),
    "an order by Exists": lambda a, b: list(of(a).order_by(Exists(named(b)))),
    "a union": lambda a, b: list(of(a).union(of(b))),
    "a union of which one part says using": lambda a, b: list(Author.objects.using("shard0").union(of(b))),
    "an intersection": lambda a, b: list(of(a).intersection(of(b))),
    "a difference": lambda a, b: list(of(a).difference(of(b))),
    "in a part of a union": lambda a, b: list(of(a).union(of(a).filter(name__in=of(b).values("name")))),
    "a union as a list": lambda a, b: list(of(a).filter(name__in=of(a).values("name").union(of(b).values("name")))),
    "an aggregate's filter": lambda a, b: of(a).aggregate(n=Count("id", filter=Exists(of(b)))),
    "an aggregate of a subquery": lambda a, b: of(a).aggregate(n=Max(Subquery(of(b).values("name")[:1]))),
    "a count of an annotation": lambda a, b: of(a).annotate(n=Count("id", filter=Exists(of(b)))).values("n").get(),
    "values": lambda a, b: list(of(a).values(n=Subquery(of(b).values("name")[:1]))),
    "iterator": lambda a, b: list(of(a).annotate(found=Exists(of(b))).iterator()),
    "in_bulk": lambda a, b: of(a).annotate(found=Exists(of(b))).in_bulk(),
    "an inner one of an inner one": lambda a, b: list(
        of(a).filter(Exists(Book.objects.filter(author_id=OuterRef("id"), title__in=of(b).values("name"))))
    ),
    "an update's condition": lambda a, b: of(a).filter(Exists(of(b))).update(name="x"),
    "an update's value": lambda a, b: of(a).update(name=Subquery(of(b).values("name")[:1])),
    "a deletion": lambda a, b: of(a).filter(Exists(of(b))).delete(),
    "a new row's value": lambda a, b: Author.objects.create(id=a.pk + 1, name=Subquery(of(b).values("name")[:1])),
    "a row's value": lambda a, b: Author(id=a.pk, name=Subquery(of(b).values("name")[:1])).save(force_update=True),
    "many new rows' values": lambda a, b: Book.objects.bulk_create(
        [Book(author_id=a.pk, title=Subquery(of(b).values("name")[:1]))]
    ),
    "another database": lambda a, b: of(a).filter(name__in=Author.objects.using("shard1").values("name")).count(),
    "another database by Exists": lambda a, b: list(of(a).filter(Exists(Author.objects.using("shard1")))),
    "a table of no shard": lambda a, b: list(of(a).filter(id__in=BucketMap.objects.values("bucket"))),
    "scatter": lambda a, b: Author.objects.filter(name__in=of(b).values("name")).scatter(),
    "scatter of anyone": lambda a, b: Author.objects.filter(name__in=named(b).values("name")).scatter(),
    "scatter_count": lambda a, b: Author.objects.filter(Exists(named(b))).scatter_count(),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_query_about_another_shard_is_refused_in(name: str) -> None:
    a, b = author_on(0, "same"), author_on(1, "same")
    for author in (a, b):
        book = Book.objects.create(author_id=author.pk, title="title")
        Leaf.objects.create(book=book, number=1)
    with pytest.raises((ShardKeyRequired, CrossShardTransaction)) as raised:
        REFUSED[name](a, b)
    assert "union" in name or "\n" not in str(raised.value)
    assert [Author.objects.get(pk=one.pk).name for one in (a, b)] == ["same", "same"]


def titled(title: str) -> Any:
    return Book.objects.filter(title=title)


ANSWERED: dict[str, tuple[Asking, object]] = {
    "the shard is named": (lambda a, b: of(a).filter(name__in=of(a).values("name")).count(), 1),
    "a list of ids of anyone": (
        lambda a, b: Book.objects.filter(author_id=a.pk, author_id__in=named(a).values("id")).count(),
        2,
    ),
    "a list of rows of anyone": (
        lambda a, b: Leaf.objects.filter(book__author_id=a.pk, book__in=titled("1")).count(),
        1,
    ),
    "an exclusion of a list of ids": (
        lambda a, b: list(
            Book.objects.filter(author_id=a.pk).exclude(id__in=titled("1")).values_list("title", flat=True)
        ),
        ["2"],
    ),
    "an exclusion over a relation": (
        lambda a, b: list(
            Book.objects.filter(author_id=a.pk).exclude(leaves__number=1).values_list("title", flat=True)
        ),
        ["2"],
    ),
    "OuterRef of the id": (
        lambda a, b: of(a).annotate(found=Exists(titled("1").filter(author_id=OuterRef("id")))).get().found,
        True,
    ),
    "OuterRef of the shard key": (
        lambda a, b: sorted(
            Book.objects.for_key(a.pk)
            .annotate(name=Subquery(Author.objects.filter(pk=OuterRef("author_id")).values("name")[:1]))
            .values_list("name", flat=True)
        ),
        ["same", "same"],
    ),
    "a count of the related": (
        lambda a, b: sorted(Book.objects.for_key(a.pk).annotate(n=Count("leaves")).values_list("n", flat=True)),
        [0, 1],
    ),
    "a count in a subquery": (
        lambda a, b: (
            of(a)
            .annotate(
                n=Subquery(
                    Book.objects.filter(author_id=OuterRef("id"))
                    .values("author_id")
                    .annotate(n=Count("id"))
                    .values("n")
                )
            )
            .get()
            .n
        ),
        2,
    ),
    "an order by a subquery": (
        lambda a, b: list(
            Book.objects.for_key(a.pk)
            .order_by(Exists(Leaf.objects.filter(book_id=OuterRef("id"))), F("title"))
            .values_list("title", flat=True)
        ),
        ["2", "1"],
    ),
    "a filtered relation": (
        lambda a, b: (
            Book.objects.for_key(a.pk)
            .annotate(first=FilteredRelation("leaves", condition=Q(leaves__number=1)))
            .filter(first__isnull=False)
            .count()
        ),
        1,
    ),
    "scatter by OuterRef": (
        lambda a, b: len(
            Author.objects.filter(Exists(titled("1").filter(author_id=OuterRef("id")))).scatter(deadline=10).items
        ),
        2,
    ),
    "scatter by a list of ids": (
        lambda a, b: Author.objects.filter(id__in=titled("1").values("author_id")).scatter_count(10),
        (2, False),
    ),
    "nothing": (lambda a, b: of(a).filter(name__in=Author.objects.none().values("name")).count(), 0),
    "a list with None": (lambda a, b: Author.objects.filter(id__in=[a.pk, None]).count(), 1),
    "a list as text": (lambda a, b: Author.objects.filter(id__in=[str(a.pk), None]).count(), 1),
    "only None": (lambda a, b: Author.objects.filter(id__in=[None]).count(), 0),
    "using for both": (
        lambda a, b: (
            Author.objects.using("shard0").filter(name__in=Author.objects.using("shard0").values("name")).count()
        ),
        1,
    ),
    "an update by F": (lambda a, b: Book.objects.for_key(a.pk).update(title=F("title")), 2),
}


@pytest.mark.parametrize("name", ANSWERED)
def test_a_query_inside_of_another_one_is_answered_where(name: str) -> None:
    a, b = author_on(0, "same"), author_on(1, "same")
    for author in (a, b):
        first, _ = (Book.objects.create(author_id=author.pk, title=title) for title in ("1", "2"))
        Leaf.objects.create(book=first, number=1)
    asking, answer = ANSWERED[name]
    assert asking(a, b) == answer
