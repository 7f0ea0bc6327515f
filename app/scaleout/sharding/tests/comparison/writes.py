"""Operations that write: by objects, managers, related managers and in bulk."""

from __future__ import annotations

from typing import Any

from django.db import router
from django.db.models import F, Value
from django.db.models.functions import Concat
from hypothesis import strategies as st

from scaleout.sharding.errors import CrossShardRelation, CrossShardTransaction, ShardKeyRequired
from scaleout.sharding.tests.comparison.operation import NAME, NUMBER, WHO, operation
from scaleout.sharding.tests.comparison.side import Side

KIND = st.sampled_from(["Author", "Book", "Leaf", "Cover"])


# ── objects in memory ─────────────────────────────────────────────────────────────────────────────
@operation(times=2, name=NAME, score=NUMBER)
def new_author(side: Side, name: str, score: int | None) -> None:
    if side.scope is None:
        side.hold("Author", side.models["Author"](rank=side.new_rank(), name=name, score=score))


@operation(times=3, who=WHO, title=NAME, pages=NUMBER, by_id=st.booleans())
def new_book(side: Side, who: int, title: str, pages: int | None, by_id: bool) -> None:
    author = side.pick("Author", who)
    given = {"author_id": author.pk} if by_id else {"author": author}
    side.hold("Book", side.models["Book"](rank=side.new_rank(), title=title, pages=pages, **given), author)


@operation(times=2, who=WHO, number=st.integers(0, 3))
def new_leaf(side: Side, who: int, number: int) -> None:
    book = side.pick("Book", who)
    side.hold("Leaf", side.models["Leaf"](rank=side.new_rank(), number=number, book=book), book)


@operation(who=WHO, colour=NAME)
def new_cover(side: Side, who: int, colour: str) -> None:
    book = side.pick("Book", who)
    side.hold("Cover", side.models["Cover"](rank=side.new_rank(), colour=colour, book=book), book)


@operation(times=2, who=WHO, title=NAME, pages=st.one_of(NUMBER, st.just("more")))
def change_book(side: Side, who: int, title: str, pages: Any) -> None:
    book = side.pick("Book", who)
    book.title = title
    book.pages = F("pages") + 1 if pages == "more" else pages


@operation(who=WHO, name=NAME)
def change_author(side: Side, who: int, name: str) -> None:
    side.pick("Author", who).name = name


@operation(CrossShardRelation, who=WHO, other=WHO)
def change_relation(side: Side, who: int, other: int) -> None:
    side.pick("Leaf", who).book = side.pick("Book", other)


@operation(CrossShardRelation, who=WHO, other=st.one_of(st.none(), WHO))
def change_sequel(side: Side, who: int, other: int | None) -> None:
    side.pick("Book", who).sequel = None if other is None else side.pick("Book", other)


@operation(CrossShardRelation, CrossShardTransaction, times=2, who=WHO, other=WHO)
def save_sequel_by_id(side: Side, who: int, other: int) -> None:
    book = side.pick("Book", who)
    before, cached = (book.author_id, book.sequel_id), dict(book._state.fields_cache)
    book.sequel_id = side.pick("Book", other).pk
    try:
        book.save()
    except Exception:
        # A save that is refused may have read them from its relations, and forgotten a relation
        # that is another one.
        book.author_id, book.sequel_id = before
        book._state.fields_cache = cached
        raise


# ── one object ────────────────────────────────────────────────────────────────────────────────────
@operation(
    CrossShardTransaction,
    CrossShardRelation,
    times=8,
    kind=KIND,
    who=WHO,
    how=st.sampled_from([{}, {}, {}, {}, {"force_insert": True}, {"force_update": True}]),
)
def save(side: Side, kind: str, who: int, how: dict[str, bool]) -> None:
    side.pick(kind, who).save(**how)


@operation(CrossShardTransaction, CrossShardRelation, times=2, who=WHO, title=NAME)
def save_by_id(side: Side, who: int, title: str) -> None:
    """Save a new object with the id of another one, which it replaces."""
    book = side.pick("Book", who)
    side.models["Book"](id=book.pk, rank=book.rank, title=title, author_id=book.author_id).save()


@operation(
    CrossShardTransaction,
    CrossShardRelation,
    who=WHO,
    fields=st.sampled_from([["title"], ["pages"], ["title", "pages"], ["sequel"], []]),
)
def save_fields(side: Side, who: int, fields: list[str]) -> None:
    side.pick("Book", who).save(update_fields=fields)


@operation(
    CrossShardTransaction,
    CrossShardRelation,
    ShardKeyRequired,
    times=2,
    kind=st.sampled_from(["Author", "Book", "Leaf"]),
    who=WHO,
    title=NAME,
)
def save_copy(side: Side, kind: str, who: int, title: str) -> Any:
    """Copy a row as Django's documentation says."""
    original = side.pick(kind, who)
    if kind == "Author" and side.scope is not None:
        return None
    made = side.models[kind].objects.get(pk=original.pk)
    made.pk, made._state.adding, made.rank = None, True, side.new_rank()
    if kind == "Book":
        made.title = title
    made.save()
    return side.hold(kind, made, None if kind == "Author" else original)


@operation(CrossShardTransaction, ShardKeyRequired, times=2, kind=KIND, who=WHO)
def delete(side: Side, kind: str, who: int) -> Any:
    return side.pick(kind, who).delete()


@operation(ShardKeyRequired, kind=KIND, who=WHO, fields=st.sampled_from([None, ["rank"]]))
def refresh(side: Side, kind: str, who: int, fields: list[str] | None) -> None:
    side.pick(kind, who).refresh_from_db(fields=fields)


@operation(ShardKeyRequired, kind=KIND, who=WHO)
def full_clean(side: Side, kind: str, who: int) -> None:
    side.pick(kind, who).full_clean()


# ── managers ──────────────────────────────────────────────────────────────────────────────────────
@operation(CrossShardTransaction, name=NAME, score=NUMBER)
def create_author(side: Side, name: str, score: int | None) -> Any:
    if side.scope is not None:
        return None
    return side.hold("Author", side.models["Author"].objects.create(rank=side.new_rank(), name=name, score=score))


@operation(CrossShardTransaction, CrossShardRelation, times=3, who=WHO, title=NAME, pages=NUMBER)
def create_book(side: Side, who: int, title: str, pages: int | None) -> Any:
    author = side.pick("Author", who)
    made = side.models["Book"].objects.create(rank=side.new_rank(), author=author, title=title, pages=pages)
    return side.hold("Book", made, author)


@operation(CrossShardTransaction, CrossShardRelation, times=2, who=WHO, number=st.integers(0, 3))
def create_leaf(side: Side, who: int, number: int) -> Any:
    book = side.pick("Book", who)
    return side.hold("Leaf", book.leaves.create(rank=side.new_rank(), number=number), book)


@operation(
    CrossShardTransaction,
    CrossShardRelation,
    ShardKeyRequired,
    times=3,
    who=WHO,
    title=NAME,
    pages=NUMBER,
    how=st.sampled_from(["by id", "by object", "related"]),
)
def get_or_create(side: Side, who: int, title: str, pages: int | None, how: str) -> Any:
    author = side.pick("Author", who)
    books = author.books if how == "related" else side.models["Book"].objects
    given = {"by id": {"author_id": author.pk}, "by object": {"author": author}, "related": {}}[how]
    made, new = books.get_or_create(title=title, defaults={"rank": side.new_rank(), "pages": pages}, **given)
    return (side.hold("Book", made, author) if new else made), new


@operation(
    CrossShardTransaction,
    CrossShardRelation,
    ShardKeyRequired,
    times=2,
    who=WHO,
    title=NAME,
    pages=NUMBER,
    how=st.sampled_from(["by id", "related", "create_defaults"]),
)
def update_or_create(side: Side, who: int, title: str, pages: int | None, how: str) -> Any:
    author = side.pick("Author", who)
    books = author.books if how == "related" else side.models["Book"].objects
    given = {} if how == "related" else {"author_id": author.pk}
    rank = side.new_rank()
    defaults: dict[str, Any] = {"pages": pages}
    if how == "create_defaults":
        made, new = books.update_or_create(
            title=title, defaults=defaults, create_defaults={"rank": rank, "title": title + "!"}, **given
        )
    else:
        made, new = books.update_or_create(
            title=title, defaults=defaults, create_defaults={"rank": rank, "pages": 9}, **given
        )
    return (side.hold("Book", made, author) if new else made), new


def _loaded(one: Any) -> Any:
    """Return the object as if it had been loaded after a move: `add()` refuses one that was loaded
    before it.
    """
    if not one._state.adding:
        one._state.db = router.db_for_write(type(one), instance=one)
    return one


# ── related managers ──────────────────────────────────────────────────────────────────────────────
@operation(CrossShardTransaction, CrossShardRelation, ShardKeyRequired, who=WHO, other=WHO, bulk=st.booleans())
def add_leaf(side: Side, who: int, other: int, bulk: bool) -> None:
    book, leaf = side.pick("Book", who), _loaded(side.pick("Leaf", other))
    before = leaf.book_id, dict(leaf._state.fields_cache)
    try:
        book.leaves.add(leaf, bulk=bulk)
    except Exception:  # where a failed one leaves the object is not compared
        leaf.book_id, leaf._state.fields_cache = before
        raise


@operation(
    CrossShardTransaction,
    CrossShardRelation,
    ShardKeyRequired,
    who=WHO,
    others=st.lists(WHO, max_size=2),
    how=st.sampled_from(["add", "remove", "set", "clear"]),
)
def prequels(side: Side, who: int, others: list[int], how: str) -> None:
    book = side.pick("Book", who)
    chosen = [_loaded(side.pick("Book", other)) for other in others]
    before = [(one, one.sequel_id, dict(one._state.fields_cache)) for one in chosen]
    try:
        if how == "clear":
            book.prequels.clear()
        elif how == "set":
            book.prequels.set(chosen)
        else:
            getattr(book.prequels, how)(*chosen)
    except Exception:  # where a failed one leaves the objects is not compared
        for one, sequel_id, cached in before:
            one.sequel_id, one._state.fields_cache = sequel_id, cached
        raise


@operation(ShardKeyRequired, CrossShardTransaction, who=WHO, pages=NUMBER)
def update_related(side: Side, who: int, pages: int | None) -> Any:
    return side.pick("Author", who).books.update(pages=pages)


@operation(who=WHO)
def follow(side: Side, who: int) -> Any:
    leaf = side.pick("Leaf", who)
    return leaf.book.author.name, leaf.book.sequel, leaf.book.cover.colour


# ── many objects ──────────────────────────────────────────────────────────────────────────────────
@operation(
    CrossShardTransaction,
    CrossShardRelation,
    times=2,
    whom=st.lists(WHO, max_size=3),
    title=NAME,
    how=st.sampled_from(["", "", "ignore", "update"]),
)
def bulk_create(side: Side, whom: list[int], title: str, how: str) -> Any:
    authors = [side.pick("Author", who) for who in whom]
    books = [
        side.models["Book"](rank=side.new_rank(), author=author, title=f"{title}{number}")
        for number, author in enumerate(authors)
    ]
    options: dict[str, Any] = {}
    if how == "ignore":
        options = {"ignore_conflicts": True}
    elif how == "update":
        options = {"update_conflicts": True, "unique_fields": ["author", "title"], "update_fields": ["pages"]}
    made = side.models["Book"].objects.bulk_create(books, **options)
    if not how:
        for book, author in zip(made, authors, strict=True):
            side.hold("Book", book, author)
    return [(book.title, book._state.adding, book.pk) for book in made]


@operation(CrossShardTransaction, CrossShardRelation)
def bulk_create_held(side: Side) -> Any:
    new = [one for one in side.some("Book") if one._state.adding]
    made = side.models["Book"].objects.bulk_create(new)
    return [(book.rank, book._state.adding, book.pk is None) for book in made]


@operation(
    CrossShardTransaction,
    CrossShardRelation,
    fields=st.sampled_from([["pages", "title"], ["sequel"], ["title"]]),
    size=st.sampled_from([None, 2]),
)
def bulk_update(side: Side, fields: list[str], size: int | None) -> Any:
    return side.models["Book"].objects.bulk_update(side.some("Book"), fields, batch_size=size)


@operation(CrossShardTransaction, whom=st.lists(NAME, max_size=3))
def bulk_create_authors(side: Side, whom: list[str]) -> Any:
    if side.scope is not None:
        return None
    new = [side.models["Author"](rank=side.new_rank(), name=name) for name in whom]
    return [side.hold("Author", made) for made in side.models["Author"].objects.bulk_create(new)]


def bulk_create_across(side: Side, whom: list[str]) -> Any:
    """Insert authors and their books on all shards: where one could fail, others would have been
    committed.
    """
    options = {"across_shards": True} if "Shard" in side.models["Author"].__name__ else {}
    new = [side.models["Author"](rank=side.new_rank(), name=name) for name in whom]
    authors = side.models["Author"].objects.bulk_create(new, **options)
    books = [side.models["Book"](rank=side.new_rank(), author=author, title="new") for author in authors]
    side.models["Book"].objects.bulk_create(books, **options)
    for author, book in zip(authors, books, strict=True):
        side.hold("Book", book, side.hold("Author", author))
    return len(books)


@operation(ShardKeyRequired, CrossShardTransaction, name=NAME, update=st.booleans())
def get_or_create_author(side: Side, name: str, update: bool) -> Any:
    """Look for what names no shard."""
    authors = side.models["Author"].objects
    ask = authors.update_or_create if update else authors.get_or_create
    made, new = ask(name=name, defaults={"rank": side.new_rank()} if not update else {"score": 1})
    return side.hold("Author", made) if new else made


@operation(CrossShardTransaction, CrossShardRelation, ShardKeyRequired, who=WHO, other=WHO)
def give_away(side: Side, who: int, other: int) -> Any:
    book, leaf = side.pick("Book", who), side.pick("Leaf", other)
    return side.models["Leaf"].objects.filter(pk=leaf.pk).update(book=book)


UPDATES: dict[str, dict[str, Any]] = {
    "a value": {"pages": 7},
    "F": {"pages": F("pages") + 1},
    "a function": {"title": Concat("title", Value("+"))},
    "one title": {"title": "a"},
    "none": {"sequel": None},
}
