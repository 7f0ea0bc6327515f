from django.apps import AppConfig


class ProductsConfig(AppConfig):
    name = "shop.products"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from shop.products import tags, warmers  # noqa: F401, PLC0415 -- the models are loaded only now

        tags.bind_models()
