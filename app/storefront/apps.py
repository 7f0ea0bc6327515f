from django.apps import AppConfig


class StorefrontConfig(AppConfig):
    name = "storefront"

    def ready(self) -> None:
        from storefront import warmers  # noqa: F401, PLC0415 -- the models are there only now
