from django.apps import AppConfig


class StorefrontConfig(AppConfig):
    name = "shop.storefront"

    def ready(self) -> None:
        from shop.storefront import warmers  # noqa: F401, PLC0415 -- the models are loaded only now
