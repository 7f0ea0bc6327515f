from django.apps import AppConfig


class SharedStateConfig(AppConfig):
    name = "shop.shared_state"
    label = "stateless"  # the name of its table and migrations since the first release
