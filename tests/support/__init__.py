"""What the tests of the live system share."""
