"""Development (`make dev`): a change of a file shows at once. Nothing here runs in production."""
