"""The paths of the counter and the session."""

from django.urls import path

from shop.shared_state import views

urlpatterns = [
    path("counter/", views.counter, name="counter"),
    path("session/", views.session, name="session"),
]
