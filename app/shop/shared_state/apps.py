from django.apps import AppConfig


class SharedStateConfig(AppConfig):
    name = "shop.shared_state"
    label = "stateless"  # the name of its table and of its migrations since the first release
