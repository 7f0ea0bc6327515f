"""The demo: a shop that uses the toolkit."""
