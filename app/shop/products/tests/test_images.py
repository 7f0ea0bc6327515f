"""Product images: in the database, in the store, and on the pages."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from threading import Thread
from typing import Any

import pytest
from celery import current_app
from django.core.files.base import ContentFile
from django.core.files.storage import InMemoryStorage, default_storage
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.management import call_command
from django.db import connection, connections, transaction
from django.test import Client
from django.utils import timezone
from pytest_django import Settings
from scaleout.base import Breaker
from scaleout.events import sending
from scaleout.identity import tokens
from waiting import TIME_FACTOR, in_time

from shop.products import answers, image_api
from shop.products.images import lifecycle, object_names, object_store, pictures
from shop.products.models import Product, StoredImage
from shop.products.tests.conftest import MakeProduct
from shop.products.tests.pictures import HOSTILE, encoded, opened, picture
from shop.storefront import pages

pytestmark = pytest.mark.django_db
announce = image_api._announce  # which the fixture below replaces
# With real commits, which send the events.
committed = pytest.mark.django_db(transaction=True, databases=["default", "replica1", "replica2"])


@pytest.fixture(autouse=True)
def announced(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> list[str]:
    """An empty store, and the names in the tasks for variants, which go to no queue here."""
    # Django rebuilds the storage when the setting changes.
    settings.STORAGES = {**settings.STORAGES, "default": {"BACKEND": f"{Kept.__module__}.Kept"}}
    asked: list[str] = []
    monkeypatch.setattr(image_api, "_announce", asked.append)
    # What would be done after the answer is done before it here, so that a test need not wait for
    # it.
    monkeypatch.setattr(object_store, "in_background", lambda work: work())
    return asked


class Kept(InMemoryStorage):
    """Objects in memory; a second one of the same name replaces the first, as in S3."""

    def get_available_name(self, name: str, max_length: int | None = None) -> str:
        if self.exists(name):
            self.delete(name)
        return name

    def older(self, prefix: str, than: Any, most: int) -> list[str]:
        if not self.exists(prefix.rstrip("/")):
            return []
        found = [f"{prefix}{one}/{name}" for one in self.listdir(prefix)[0] for name in self.listdir(prefix + one)[1]]
        return [name for name in found if self.get_modified_time(name) < than]


def bearer(*, staff: bool = True) -> dict[str, str]:
    return {"authorization": f"Bearer {tokens.for_user(7, is_staff=staff)}"}


def send(client: Client, product: int | str, data: bytes, *, name: str = "a.png", staff: bool = True) -> Any:
    file = SimpleUploadedFile(name, data, "text/html")
    return client.post(f"/api/products/{product}/image", {"image": file}, headers=bearer(staff=staff))


def assert_problem(answer: Any, status: int, says: str = "") -> None:
    assert answer.status_code == status, answer.content
    assert answer["Content-Type"] == "application/problem+json"
    assert says in answer.json()["detail"]


@committed
def test_an_image_from_staff_is_set_regardless_of_file_name_and_declared_type(
    client: Client, make_product: MakeProduct, announced: list[str]
) -> None:
    product = make_product()
    answer = send(client, product.pk, encoded("PNG", picture(1000, 700)), name="../../etc/passwd.html")
    assert answer.status_code == 200, answer.content
    url = answer.json()["image_url"]
    assert answer.json() == client.get(f"/api/products/{product.pk}").json()
    product.refresh_from_db()
    assert url == f"/media/{product.image_url}"
    assert object_names.is_stored(product.image_url)
    assert opened(default_storage.open(product.image_url).read()).size == (1000, 700)
    assert announced == [product.image_url]
    page = pages.product(product.pk)
    assert f'src="{url}"' in page
    assert "srcset" not in page

    lifecycle.make_variants(product.image_url)
    product.refresh_from_db()
    assert product.image_width == 1000
    for width in (320, 640):
        assert opened(default_storage.open(object_names.variant(product.image_url, width)).read()).width == width
    assert not default_storage.exists(object_names.variant(product.image_url, 1280))
    stem = url.removesuffix(".webp")
    assert f'srcset="{stem}-320.webp 320w, {stem}-640.webp 640w, {url} 1000w"' in pages.product(product.pk)


@committed
def test_pages_and_api_show_a_new_image_at_once(client: Client, make_product: MakeProduct) -> None:
    product = make_product(featured=True)
    first = send(client, product.pk, encoded("PNG")).json()["image_url"]
    shown: tuple[Callable[[], str], ...] = (
        pages.front,
        lambda: pages.product(product.pk),
        lambda: answers.detail(product.pk),
    )
    assert all(first in show() for show in shown)
    second = send(client, product.pk, encoded("PNG", picture(90, 90))).json()["image_url"]
    assert first != second
    assert all(second in show() and first not in show() for show in shown)


@committed
def test_the_same_image_again_changes_nothing(client: Client, make_product: MakeProduct, announced: list[str]) -> None:
    product = make_product()
    send(client, product.pk, encoded("PNG", picture(400, 300)))
    lifecycle.make_variants(announced[0])
    before = Product.objects.values().get(pk=product.pk)
    assert send(client, product.pk, encoded("PNG", picture(400, 300))).status_code == 200
    assert Product.objects.values().get(pk=product.pk) == before
    assert StoredImage.objects.count() == 1


@pytest.mark.parametrize(("status", "data"), HOSTILE.values(), ids=HOSTILE)
def test_a_bad_file_is_a_problem_and_nothing_is_kept(
    client: Client, make_product: MakeProduct, status: int, data: bytes
) -> None:
    product = make_product()
    # Django leaves out a file without content.
    assert_problem(send(client, product.pk, data), status if data else 415)
    product.refresh_from_db()
    assert product.image_url == ""
    assert not StoredImage.objects.exists()


def test_a_request_without_the_file_is_a_problem(client: Client, make_product: MakeProduct) -> None:
    path = f"/api/products/{make_product().pk}/image"
    assert_problem(client.post(path, {"image": "text"}, headers=bearer()), 400, "image")
    assert_problem(client.post(path, {}, headers=bearer()), 400, "image")
    assert_problem(client.generic("POST", path, b"{}", "application/json", headers=bearer()), 400, "image")
    assert_problem(client.generic("POST", path, b"--x", "multipart/form-data", headers=bearer()), 400)
    assert_problem(client.generic("POST", path, b"x", "multipart/form-data; boundary=a", headers=bearer()), 400)


def test_only_staff_may(client: Client, make_product: MakeProduct) -> None:
    product = make_product().pk
    for path in ("image", "image-upload", f"image-upload/{'0' * 32}"):
        body: Any = {"content_type": "image/png", "size": 5}
        options: Any = {"content_type": "application/json"}
        if path == "image":
            body, options = {"image": SimpleUploadedFile("a.png", encoded("PNG"))}, {}
        assert_problem(client.post(f"/api/products/{product}/{path}", body, **options), 401)
        if path == "image":
            body = {"image": SimpleUploadedFile("a.png", encoded("PNG"))}
        refused = client.post(f"/api/products/{product}/{path}", body, headers=bearer(staff=False), **options)
        assert_problem(refused, 403)
    assert not StoredImage.objects.exists()


@pytest.mark.parametrize("product", ["0", "999", "abc", "9" * 30])
def test_a_product_that_does_not_exist_is_404(client: Client, product: str) -> None:
    assert_problem(send(client, product, encoded("PNG")), 404)
    assert not StoredImage.objects.exists()


def test_an_upload_of_a_browser_is_confirmed_once(client: Client, make_product: MakeProduct) -> None:
    product = make_product()
    token = object_names.fresh_token()
    incoming = object_names.incoming(product.pk, token)
    default_storage.save(incoming, ContentFile(encoded("JPEG")))
    path = f"/api/products/{product.pk}/image-upload/"
    assert_problem(client.post(path + object_names.fresh_token(), headers=bearer()), 404)
    assert_problem(client.post(f"/api/products/{make_product().pk}/image-upload/{token}", headers=bearer()), 404)
    taken = client.post(path + token, headers=bearer())
    assert taken.status_code == 200, taken.content
    product.refresh_from_db()
    assert taken.json()["image_url"] == object_names.url(product.image_url)
    object_store.within(2, lambda: None)
    assert not eventually_exists(incoming)
    assert_problem(client.post(path + token, headers=bearer()), 404)


def eventually_exists(name: str) -> bool:
    """Return whether the object exists after the threads of the store have finished."""
    for _ in range(8):
        object_store.within(2, time.sleep, 0.01)
    return bool(default_storage.exists(name))


@pytest.mark.parametrize("token", ["x", "0" * 31, "0" * 33, "%2e%2e", "é" * 32, "-" * 32, "0" * 31 + "%2f"])
def test_an_unknown_upload_token_is_404(client: Client, make_product: MakeProduct, token: str) -> None:
    answer = client.post(f"/api/products/{make_product().pk}/image-upload/{token}", headers=bearer())
    assert answer.status_code == 404


def test_a_bad_file_that_a_browser_has_put_is_a_problem(client: Client, make_product: MakeProduct) -> None:
    product, token = make_product(), object_names.fresh_token()
    default_storage.save(object_names.incoming(product.pk, token), ContentFile(b"<script>"))
    assert_problem(client.post(f"/api/products/{product.pk}/image-upload/{token}", headers=bearer()), 415)
    default_storage.save(object_names.incoming(product.pk, token), ContentFile(bytes(pictures.MOST_BYTES + 1)))
    assert_problem(client.post(f"/api/products/{product.pk}/image-upload/{token}", headers=bearer()), 413)


@pytest.mark.parametrize(
    "case",
    [
        (["shop.example"], "evil.example", 400),
        ([".shop.example"], "a.shop.example", 201),
        ([], "evil.example", 400),
        (["*"], "evil.example", 400),
        ([], "203.0.114.7", 400),
        ([], "localhost:8080", 201),
        ([], "127.0.0.1:8080", 201),
        ([], "[::1]:8080", 201),
        ([], "192.168.1.7", 201),
    ],
)
def test_no_upload_is_prepared_for_a_host_without_a_setting(
    client: Client, make_product: MakeProduct, settings: Settings, case: tuple[list[str], str, int]
) -> None:
    hosts, host, status = case
    settings.STORAGES = {**settings.STORAGES, "default": {"BACKEND": "scaleout.s3.storage.MediaStorage"}}
    settings.SITE_HOSTS = hosts
    answer = client.post(
        f"/api/products/{make_product().pk}/image-upload",
        {"content_type": "image/jpeg", "size": 5},
        content_type="application/json",
        headers=bearer() | {"host": host},
    )
    assert answer.status_code == status, answer.content


def test_a_presigned_url_is_for_one_name_type_and_length_at_the_requested_host(
    client: Client, make_product: MakeProduct, settings: Settings
) -> None:
    settings.STORAGES = {**settings.STORAGES, "default": {"BACKEND": "scaleout.s3.storage.MediaStorage"}}
    settings.SITE_HOSTS = ["shop.example"]
    product = make_product().pk
    answer = client.post(
        f"/api/products/{product}/image-upload",
        {"content_type": "image/jpeg", "size": 5_000_000},
        content_type="application/json",
        headers=bearer() | {"host": "shop.example:8080"},
    )
    assert answer.status_code == 201, answer.content
    upload = answer.json()
    assert upload["url"].startswith(f"http://shop.example:8080/media/incoming/{product}/{upload['token']}?")
    assert "X-Amz-SignedHeaders=content-length%3Bcontent-type%3Bhost" in upload["url"]
    assert "X-Amz-Expires=300" in upload["url"]
    assert upload["headers"] == {"Content-Type": "image/jpeg"}

    for body in ({"content_type": "text/html", "size": 5}, {"content_type": "image/png", "size": 8_388_609},
                 {"content_type": "image/png", "size": 0}, {"content_type": "image/png"}, {}):  # fmt: skip
        path = f"/api/products/{product}/image-upload"
        assert_problem(client.post(path, json.dumps(body), content_type="application/json", headers=bearer()), 400)


def test_a_presigned_url_uses_media_upload_url_if_it_is_set(
    client: Client, make_product: MakeProduct, settings: Settings
) -> None:
    settings.STORAGES = {**settings.STORAGES, "default": {"BACKEND": "scaleout.s3.storage.MediaStorage"}}
    settings.MEDIA_UPLOAD_URL = "https://bucket.store.example"
    product = make_product().pk
    body = {"content_type": "image/png", "size": 5}
    path = f"/api/products/{product}/image-upload"
    upload = client.post(path, body, content_type="application/json", headers=bearer()).json()
    assert upload["url"].startswith(f"https://bucket.store.example/incoming/{product}/{upload['token']}?")
    assert "X-Amz-Signature=" in upload["url"]


@pytest.fixture
def hung(settings: Settings) -> Iterator[None]:
    """A store that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=50) as listener:
        settings.AWS_S3_ENDPOINT_URL = f"http://127.0.0.1:{listener.getsockname()[1]}"
        settings.STORAGES = {**settings.STORAGES, "default": {"BACKEND": "scaleout.s3.storage.MediaStorage"}}
        object_store.make_ready()
        yield


@pytest.mark.usefixtures("hung")
def test_a_store_that_hangs_is_a_problem_in_time_and_the_product_stays_as_it_is(
    client: Client, make_product: MakeProduct
) -> None:
    product = make_product(image_url="/old.png")
    for call in (
        lambda: send(client, product.pk, encoded("PNG")),
        lambda: client.post(f"/api/products/{product.pk}/image-upload/{'0' * 32}", headers=bearer()),
    ):
        with in_time():
            answer = call()
        assert_problem(answer, 503, "store")
        assert answer["Retry-After"] == "2"
    product.refresh_from_db()
    assert product.image_url == "/old.png"


def test_a_store_that_is_down_is_a_problem(client: Client, make_product: MakeProduct, settings: Settings) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        settings.AWS_S3_ENDPOINT_URL = f"http://127.0.0.1:{listener.getsockname()[1]}"
    settings.STORAGES = {**settings.STORAGES, "default": {"BACKEND": "scaleout.s3.storage.MediaStorage"}}
    object_store.make_ready()
    assert_problem(send(client, make_product().pk, encoded("PNG")), 503)


@pytest.fixture
def announcing(announced: list[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Send tasks to the queue as outside of the tests; at the end wait for those under way."""
    monkeypatch.setattr(image_api, "_announce", announce)
    monkeypatch.setattr(sending, "_breaker", Breaker(sending.PAUSE))
    yield
    image_api._announcer.submit(lambda: None).result(5 * TIME_FACTOR)


@committed
@pytest.mark.usefixtures("announcing")
def test_the_variants_are_made_by_a_task(
    client: Client, make_product: MakeProduct, deliver: Callable[[], list[str]]
) -> None:
    product = make_product()
    send(client, product.pk, encoded("PNG", picture(700, 500)))
    image_api._announcer.submit(lambda: None).result(5 * TIME_FACTOR)
    assert deliver() == ["products.tasks.make_variants"]
    product.refresh_from_db()
    assert product.image_width == 700


@pytest.fixture
def silent_queue() -> Iterator[None]:
    """A queue that accepts connections and never answers."""
    before = current_app.conf.broker_url
    with socket.create_server(("127.0.0.1", 0), backlog=50) as listener:
        current_app.conf.update(broker_url=f"redis://127.0.0.1:{listener.getsockname()[1]}/0")
        yield
        current_app.conf.update(broker_url=before)


@committed
@pytest.mark.usefixtures("silent_queue", "announcing")
def test_uploads_do_not_wait_for_a_hung_queue_nor_report_it_as_the_store(
    client: Client, make_product: MakeProduct
) -> None:
    product = make_product()
    for width in range(50, 56):
        answer = send(client, product.pk, encoded("PNG", picture(width, 50)))
        assert answer.status_code == 200, answer.content
    image_api._announcer.submit(lambda: None).result(5 * TIME_FACTOR)
    assert not sending._breaker.allows()  # it was asked


def test_variants_whose_task_was_lost_are_made_later_and_lost_images_do_not_stop_the_others(
    client: Client, make_product: MakeProduct
) -> None:
    lost, other = make_product(), make_product()
    send(client, lost.pk, encoded("PNG", picture(700, 500)))
    send(client, other.pk, encoded("PNG", picture(701, 500)))
    lost.refresh_from_db()
    default_storage.delete(lost.image_url)
    with pytest.raises(FileNotFoundError):
        lifecycle.finish_variants()
    assert sorted(Product.objects.values_list("image_width", flat=True)) == [0, 701]
    Product.objects.filter(pk=lost.pk).update(image_url="")
    lifecycle.finish_variants()


@committed
def test_variants_of_a_replaced_image_leave_the_new_image_without_a_width(
    client: Client, make_product: MakeProduct, announced: list[str]
) -> None:
    product = make_product()
    send(client, product.pk, encoded("PNG", picture(700, 500)))
    send(client, product.pk, encoded("PNG", picture(800, 500)))
    lifecycle.make_variants(announced[0])
    product.refresh_from_db()
    assert product.image_width == 0
    lifecycle.make_variants(announced[1])
    lifecycle.make_variants(announced[1])  # delivered twice
    product.refresh_from_db()
    assert product.image_width == 800


def age(**since: timedelta) -> None:
    for one in StoredImage.objects.filter(unused_since__isnull=False):
        StoredImage.objects.filter(pk=one.pk).update(unused_since=timezone.now() - since["by"])


@committed
def test_only_images_that_no_product_shows_for_a_day_are_removed(
    client: Client, make_product: MakeProduct, announced: list[str]
) -> None:
    product = make_product()
    for width in (700, 800):
        send(client, product.pk, encoded("PNG", picture(width, 500)))
        lifecycle.make_variants(announced[-1])
    old, new = announced
    unfinished = lifecycle.save(pictures.normalise(encoded("PNG", picture(50, 50))))  # and then it was killed
    lifecycle.sweep()
    assert StoredImage.objects.get(pk=new).unused_since is None
    age(by=timedelta(hours=23))
    lifecycle.sweep()
    assert default_storage.exists(old)
    assert default_storage.exists(unfinished)
    age(by=timedelta(hours=25))
    lifecycle.sweep()
    for name in (old, object_names.variant(old, 320), object_names.variant(old, 640), unfinished):
        assert not default_storage.exists(name), name
    for name in (new, object_names.variant(new, 320), object_names.variant(new, 640)):
        assert default_storage.exists(name), name
    assert list(StoredImage.objects.values_list("pk", flat=True)) == [new]
    lifecycle.sweep()  # and once more


@committed
def test_an_image_that_is_shown_again_is_not_removed(
    client: Client, make_product: MakeProduct, announced: list[str]
) -> None:
    product = make_product()
    send(client, product.pk, encoded("PNG"))
    send(client, product.pk, encoded("PNG", picture(90, 90)))
    lifecycle.sweep()
    age(by=timedelta(hours=25))
    send(client, product.pk, encoded("PNG"))
    lifecycle.sweep()
    assert default_storage.exists(announced[0])


@committed
def test_a_store_of_an_image_that_is_being_removed_waits_and_stores_it_again(make_product: MakeProduct) -> None:
    name = lifecycle.save(pictures.normalise(encoded("PNG")))
    age(by=timedelta(hours=25))
    stored: list[str] = []

    def again() -> None:
        stored.append(lifecycle.save(pictures.normalise(encoded("PNG"))))
        connections.close_all()

    with transaction.atomic():
        image = StoredImage.objects.select_for_update().get(pk=name)
        thread = Thread(target=again)
        thread.start()
        thread.join(0.3)
        assert not stored
        default_storage.delete(name)
        image.delete()
    thread.join(5 * TIME_FACTOR)
    assert stored == [name]
    assert default_storage.exists(name)
    assert StoredImage.objects.filter(pk=name).exists()


@committed
def test_a_store_of_an_image_that_is_being_removed_fails_in_time() -> None:
    made = pictures.normalise(encoded("PNG"))
    name = lifecycle.save(made)
    result: list[object] = []

    def again() -> None:
        try:
            lifecycle.save(made, 0.3)
        except object_store.Unavailable as error:
            result.append(error)
        connections.close_all()

    with transaction.atomic():
        StoredImage.objects.select_for_update().get(pk=name)
        thread = Thread(target=again)
        thread.start()
        thread.join(5 * TIME_FACTOR)
        assert result, "it waits on"


IDLE = 300 * TIME_FACTOR  # milliseconds, in which a busy machine comes to its next statement


@committed
def test_a_slow_store_does_not_cost_a_sweep_its_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    gone = [lifecycle.save(pictures.normalise(encoded("PNG", picture(width, 50)))) for width in (50, 60)]
    age(by=timedelta(hours=25))
    monkeypatch.setattr(object_store, "delete", slowly(object_store.delete))
    with connection.cursor() as cursor:
        cursor.execute(
            "SET idle_in_transaction_session_timeout = %s", [f"{IDLE:.0f}ms"]
        )  # as in production, but shorter
        try:
            lifecycle.sweep()
        finally:
            connection.close()
    assert not StoredImage.objects.exists()
    assert not any(map(default_storage.exists, gone))


def slowly(call: Callable[[str, float], None]) -> Callable[[str, float], None]:
    """Return the call with a delay."""

    def answer(name: str, seconds: float) -> None:
        time.sleep(1.3 * IDLE / 1000)  # this store is slow: nothing is waited for
        call(name, seconds)

    return answer


def test_an_unconfirmed_upload_is_removed_after_a_day(monkeypatch: pytest.MonkeyPatch) -> None:
    incoming = object_names.incoming(5, object_names.fresh_token())
    default_storage.save(incoming, ContentFile(b"x"))
    lifecycle.sweep()
    assert default_storage.exists(incoming)
    monkeypatch.setattr(lifecycle, "UNUSED", timedelta(seconds=-1))
    lifecycle.sweep()
    assert not default_storage.exists(incoming)


def test_an_import_can_name_an_external_image_but_no_stored_object(make_product: MakeProduct) -> None:
    product = make_product(image_url="https://images.example/a.png")
    assert object_names.url(product.image_url) == "https://images.example/a.png"
    assert object_names.srcset(product.image_url, 1000) == ""


def test_the_demos_featured_products_have_images_and_loading_again_does_nothing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    call_command("load_demo", verbosity=0)
    call_command("load_demo_images")
    featured = Product.objects.filter(featured=True)
    assert featured.count() == 12
    for product in featured:
        assert default_storage.exists(product.image_url), product
        assert product.image_width == 960
    before = list(featured.values_list())
    call_command("load_demo_images")
    assert "nothing to draw" in capsys.readouterr().out
    assert list(featured.values_list()) == before
