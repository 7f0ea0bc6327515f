"""Events that are never lost: written with the change, sent after it, and with one effect each."""
